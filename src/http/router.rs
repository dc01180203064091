//! From a request to its response: authorization, routing, building the body.

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

use super::app::{App, HtmlPage, HttpError, ScrapeRequest};
use super::basic_auth::AuthResult;
use super::gzip::Gzip;
use super::live_config::ConfigState;
use super::pending_bodies::{PendingBodies, ResponseBody};
use super::server::ServerOptions;
use super::timeouts::ResponseTimer;
use super::{limits, scrape_request};

/// Responds to the requests of all connections.
#[derive(Debug)]
pub(super) struct Router<A> {
    app: A,
    pub(super) options: ServerOptions,
    requests: Arc<Semaphore>,
    gzip: Gzip,
    pending: Arc<PendingBodies>,
}

impl<A: App> Router<A> {
    pub(super) fn new(app: A, options: ServerOptions) -> Arc<Self> {
        let max_requests = options.limits.requests.unwrap_or(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            app,
            requests: Arc::new(Semaphore::new(max_requests.min(Semaphore::MAX_PERMITS))),
            gzip: Gzip::default(),
            pending: PendingBodies::new(options.limits.pending_bytes),
            options,
        })
    }

    /// The response to one request. `timer` is dropped when hyper has taken the whole body;
    /// `secure` is `true` for a connection with TLS.
    pub(super) async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        timer: ResponseTimer,
        secure: bool,
    ) -> Response<ResponseBody> {
        // request bodies are not read, so the next bytes of this connection are no request
        let close = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
        let mut response = match malformed(&request) {
            Some(error) => text(StatusCode::BAD_REQUEST, error),
            None => self.clone().authorize(&request, secure).await,
        };
        if request.method() == Method::HEAD {
            // hyper omits the body itself only in HTTP/1
            let length = HeaderValue::from(response.body().len());
            response.headers_mut().insert(CONTENT_LENGTH, length);
            *response.body_mut() = ResponseBody::new("");
        }
        if close {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.options.counts.count(response.status().as_u16());
        response.map(|body| body.timed(timer))
    }

    /// Applies the configuration file: TLS, rate limit, users and headers.
    async fn authorize(
        self: Arc<Self>,
        request: &Request<Incoming>,
        secure: bool,
    ) -> Response<ResponseBody> {
        let ConfigState::Valid(config) = self.options.config.current() else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        };
        if config.tls.is_some() && !secure {
            // TLS was configured after this connection began
            let mut response = text(StatusCode::BAD_REQUEST, "this server requires HTTPS");
            insert(response.headers_mut(), CONNECTION, "close");
            return response;
        }
        if config.rate_limit.as_ref().is_some_and(|bucket| !bucket.try_take()) {
            return text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
        }
        let result = match &config.auth {
            Some(auth) => auth.authenticate(request.headers()).await,
            None => AuthResult::Authorized,
        };
        let mut response = match result {
            AuthResult::Authorized => self.route(request).await,
            AuthResult::Unauthorized => {
                let mut response = text(StatusCode::UNAUTHORIZED, "Unauthorized");
                insert(response.headers_mut(), WWW_AUTHENTICATE, "Basic");
                response
            }
            AuthResult::Overloaded => unavailable("too many logins in progress".to_owned()),
        };
        for (name, value) in &config.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    async fn route(self: Arc<Self>, request: &Request<Incoming>) -> Response<ResponseBody> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let path = request.uri().path();
        let query = request.uri().query();
        let gzip = scrape_request::accepts_gzip(request.headers());
        if path == self.options.telemetry_path {
            return match scrape_request::parse(query, request.headers()) {
                Ok(scrape) => self.scrape(scrape, gzip).await,
                Err(error) => text(StatusCode::BAD_REQUEST, error),
            };
        }
        match path {
            "/api/v1/events" => match scrape_request::parse_events(query) {
                Ok(events) => json(self.app.events(&events)),
                Err(error) => text(StatusCode::BAD_REQUEST, error),
            },
            "/-/healthy" => text(StatusCode::OK, "healthy"),
            "/-/ready" => match self.app.ready() {
                Ok(()) => text(StatusCode::OK, "ready"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            _ => self.html(path.to_owned(), scrape_request::pairs(query), gzip).await,
        }
    }

    async fn scrape(self: Arc<Self>, request: ScrapeRequest, gzip: bool) -> Response<ResponseBody> {
        let content_type = request.format.content_type();
        let build = |router: Arc<Self>| async move {
            let body = router.app.metrics(request).await?;
            let headers = vec![(CONTENT_TYPE, content_type), (VARY, "Accept, Accept-Encoding")];
            Ok(Built { status: StatusCode::OK, headers, body })
        };
        self.build(build, gzip).await
    }

    async fn html(
        self: Arc<Self>,
        path: String,
        query: Vec<(String, String)>,
        gzip: bool,
    ) -> Response<ResponseBody> {
        let build = |router: Arc<Self>| async move {
            let page = router.app.page(&path, query).await?;
            Ok(page.map_or_else(Built::not_found, Built::html))
        };
        self.build(build, gzip).await
    }

    /// Builds the response in a task: a panic fails only this response, and the permit is kept
    /// until the work has ended, even if the client disconnects.
    async fn build<F>(
        self: Arc<Self>,
        build: impl FnOnce(Arc<Self>) -> F,
        gzip: bool,
    ) -> Response<ResponseBody>
    where
        F: Future<Output = Result<Built, HttpError>> + Send + 'static,
    {
        let Ok(permit) = self.requests.clone().try_acquire_owned() else {
            let limit = self.options.limits.requests.unwrap_or(Semaphore::MAX_PERMITS);
            return unavailable(format!("limit of {limit} concurrent requests reached"));
        };
        let build = build(self.clone());
        let router = self.clone();
        let built = tokio::spawn(async move {
            let _permit = permit;
            let limit = router.options.limits.response;
            let mut built = timeout(limit, build).await.map_err(|_| {
                HttpError::Unavailable(format!("no response within {} s", limit.as_secs()))
            })??;
            if gzip {
                let error = || HttpError::Unavailable("failed to compress response".to_owned());
                built.body = router.gzip.compress(built.body).await.ok_or_else(error)?;
                built.headers.push((CONTENT_ENCODING, "gzip"));
            }
            Ok(built)
        });
        let built = match built.await {
            Ok(Ok(built)) => built,
            Ok(Err(HttpError::BadRequest(error))) => return text(StatusCode::BAD_REQUEST, error),
            Ok(Err(HttpError::Unavailable(error))) => return unavailable(error),
            Err(error) => {
                tracing::error!(%error, "failed to build response (bug)");
                return text(StatusCode::INTERNAL_SERVER_ERROR, "failed to build response");
            }
        };
        let Some(body) = self.pending.add(built.body) else {
            return unavailable("too many responses have not been read yet".to_owned());
        };
        let mut response = Response::new(ResponseBody::pending(body));
        *response.status_mut() = built.status;
        for (name, value) in built.headers {
            insert(response.headers_mut(), name, value);
        }
        response
    }
}

/// A response before its body is sent.
struct Built {
    status: StatusCode,
    headers: Vec<(HeaderName, &'static str)>,
    body: Bytes,
}

impl Built {
    fn html(page: HtmlPage) -> Self {
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

    fn not_found() -> Self {
        let headers =
            vec![(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
        Self { status: StatusCode::NOT_FOUND, headers, body: Bytes::from_static(b"not found\n") }
    }
}

/// Why a request is malformed; hyper itself rejects the other cases.
fn malformed(request: &Request<Incoming>) -> Option<&'static str> {
    let hosts = request.headers().get_all(HOST).iter().count();
    let bad = request.version() == Version::HTTP_11 && hosts != 1;
    bad.then_some("exactly one Host header is required")
}

fn text(status: StatusCode, line: impl Into<String>) -> Response<ResponseBody> {
    let mut line = line.into();
    line.push('\n');
    let mut response = Response::new(ResponseBody::new(line));
    *response.status_mut() = status;
    insert(response.headers_mut(), CONTENT_TYPE, "text/plain; charset=utf-8");
    insert(response.headers_mut(), X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn unavailable(reason: String) -> Response<ResponseBody> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, reason);
    insert(response.headers_mut(), RETRY_AFTER, limits::RETRY_AFTER);
    response
}

fn json(body: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::new(body));
    insert(response.headers_mut(), CONTENT_TYPE, "application/json");
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
