//! What is answered to a request.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::app::{Page, Refusal, Site, Wanted};
use super::basic_auth::Verdict;
use super::body::{Body, Unsent};
use super::gzip::Gzip;
use super::live_config::Current;
use super::server::Options;
use super::timeouts::Answering;
use super::{limits, negotiate, query};

/// Everything an answer needs; one for all connections.
#[derive(Debug)]
pub(super) struct Front<S> {
    site: S,
    pub(super) options: Options,
    scrapes: Arc<Semaphore>,
    gzip: Gzip,
    unsent: Arc<Unsent>,
}

impl<S: Site> Front<S> {
    pub(super) fn new(site: S, options: Options) -> Arc<Self> {
        Arc::new(Self {
            site,
            scrapes: Arc::new(Semaphore::new(options.limits.requests)),
            gzip: Gzip::default(),
            unsent: Unsent::new(options.limits.unsent),
            options,
        })
    }

    /// The answer to one request; `answering` ends when it was taken. `secured` tells whether it
    /// came over TLS.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        answering: Answering,
        secured: bool,
    ) -> Response<Body> {
        // a body is never read, so what follows on this connection would be taken for a request
        let close = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
        let mut response = match malformed(&request) {
            Some(what) => text(StatusCode::BAD_REQUEST, what),
            None => self.clone().guard(&request, secured).await,
        };
        if request.method() == Method::HEAD {
            // hyper leaves the body out by itself in HTTP/1 only
            let length = HeaderValue::from(response.body().len());
            response.headers_mut().insert(CONTENT_LENGTH, length);
            *response.body_mut() = Body::of("");
        }
        if close {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.options.requests.count(response.status().as_u16());
        response.map(|body| body.timed(answering))
    }

    /// The answer, if the client may have it.
    async fn guard(self: Arc<Self>, request: &Request<Incoming>, secured: bool) -> Response<Body> {
        let Current::Ready(loaded) = self.options.protection.current() else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        };
        if loaded.tls.is_some() && !secured {
            // TLS was configured after this connection began
            let mut response = text(StatusCode::BAD_REQUEST, "this server speaks HTTPS only");
            insert(response.headers_mut(), CONNECTION, "close");
            return response;
        }
        if loaded.rate.as_ref().is_some_and(|bucket| !bucket.take()) {
            return text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
        }
        let verdict = match &loaded.auth {
            Some(auth) => auth.judge(request.headers()).await,
            None => Verdict::Welcome,
        };
        let mut response = match verdict {
            Verdict::Welcome => self.route(request).await,
            Verdict::Stranger => {
                let mut response = text(StatusCode::UNAUTHORIZED, "Unauthorized");
                insert(response.headers_mut(), WWW_AUTHENTICATE, "Basic");
                response
            }
            Verdict::Busy => later("too many logins are being checked".to_owned()),
        };
        for (name, value) in &loaded.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    async fn route(self: Arc<Self>, request: &Request<Incoming>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let path = request.uri().path();
        let gzip = negotiate::gzip(request.headers());
        if path == self.options.telemetry_path {
            return match query::wanted(request.uri().query(), request.headers()) {
                Ok(wanted) => self.scrape(wanted, gzip).await,
                Err(error) => text(StatusCode::BAD_REQUEST, error),
            };
        }
        match path {
            "/api/v1/events" => match query::wanted_events(request.uri().query()) {
                Ok(wanted) => json(self.site.events(&wanted)),
                Err(error) => text(StatusCode::BAD_REQUEST, error),
            },
            "/-/healthy" => text(StatusCode::OK, "healthy"),
            "/-/ready" => match self.site.ready() {
                Ok(()) => text(StatusCode::OK, "ready"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            _ => {
                let (path, query) = (path.to_owned(), query::pairs(request.uri().query()));
                self.page(path, query, gzip).await
            }
        }
    }

    async fn scrape(self: Arc<Self>, wanted: Wanted, gzip: bool) -> Response<Body> {
        let content_type = wanted.format.content_type();
        let making = |front: Arc<Self>| async move {
            let body = front.site.metrics(wanted).await?;
            let headers = vec![(CONTENT_TYPE, content_type), (VARY, "Accept, Accept-Encoding")];
            Ok(Made { status: StatusCode::OK, headers, body })
        };
        self.make(making, gzip).await
    }

    async fn page(
        self: Arc<Self>,
        path: String,
        query: Vec<(String, String)>,
        gzip: bool,
    ) -> Response<Body> {
        let making = |front: Arc<Self>| async move {
            let page = front.site.page(&path, query).await?;
            Ok(page.map_or_else(Made::nothing, Made::html))
        };
        self.make(making, gzip).await
    }

    /// What is sent is made in a task of its own: a panic in it costs this answer only, and its
    /// permit is not given back before its work has ended, even if the client has gone.
    async fn make<F>(
        self: Arc<Self>,
        making: impl FnOnce(Arc<Self>) -> F,
        gzip: bool,
    ) -> Response<Body>
    where
        F: Future<Output = Result<Made, Refusal>> + Send + 'static,
    {
        let Ok(permit) = self.scrapes.clone().try_acquire_owned() else {
            let most = self.options.limits.requests;
            return later(format!("{most} scrapes are being answered already"));
        };
        let making = making(self.clone());
        let front = self.clone();
        let making = tokio::spawn(async move {
            let _permit = permit;
            let mut made = match timeout(front.options.limits.answer, making).await {
                Ok(made) => made?,
                Err(_) => return Err(Refusal::Unavailable("no page in time".to_owned())),
            };
            if gzip {
                let died = || Refusal::Unavailable("the page could not be compressed".to_owned());
                made.body = front.gzip.compress(made.body).await.ok_or_else(died)?;
                made.headers.push((CONTENT_ENCODING, "gzip"));
            }
            Ok(made)
        });
        let made = match making.await {
            Ok(Ok(made)) => made,
            Ok(Err(Refusal::BadRequest(why))) => return text(StatusCode::BAD_REQUEST, why),
            Ok(Err(Refusal::Unavailable(why))) => return later(why),
            Err(error) => {
                tracing::error!(%error, "making the page failed");
                return text(StatusCode::INTERNAL_SERVER_ERROR, "making the page failed");
            }
        };
        let Some(held) = self.unsent.hold(made.body) else {
            return later("too many pages are waiting to be read".to_owned());
        };
        let mut response = Response::new(Body::held(held));
        *response.status_mut() = made.status;
        for (name, value) in made.headers {
            insert(response.headers_mut(), name, value);
        }
        response
    }
}

/// An answer of which the site has made the body.
struct Made {
    status: StatusCode,
    headers: Vec<(HeaderName, &'static str)>,
    body: Bytes,
}

impl Made {
    fn html(page: Page) -> Self {
        let headers = vec![
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, page.policy),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-store"),
            (VARY, "Accept-Encoding"),
        ];
        let status = if page.found { StatusCode::OK } else { StatusCode::NOT_FOUND };
        Self { status, headers, body: page.html }
    }

    fn nothing() -> Self {
        let headers =
            vec![(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
        Self { status: StatusCode::NOT_FOUND, headers, body: Bytes::from_static(b"not found\n") }
    }
}

/// What makes a request unanswerable, beyond what hyper itself refuses.
fn malformed(request: &Request<Incoming>) -> Option<&'static str> {
    let hosts = request.headers().get_all(HOST).iter().count();
    let bad = request.version() == Version::HTTP_11 && hosts != 1;
    bad.then_some("a request needs exactly one Host")
}

fn text(status: StatusCode, line: impl Into<String>) -> Response<Body> {
    let mut line = line.into();
    line.push('\n');
    let mut response = Response::new(Body::of(line));
    *response.status_mut() = status;
    insert(response.headers_mut(), CONTENT_TYPE, "text/plain; charset=utf-8");
    insert(response.headers_mut(), X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn later(why: String) -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, why);
    insert(response.headers_mut(), RETRY_AFTER, limits::RETRY_AFTER);
    response
}

fn json(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::of(body));
    insert(response.headers_mut(), CONTENT_TYPE, "application/json");
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
