//! From a request to its response: authorization, routing, building the body.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::time::{Instant, timeout_at};

use super::app::{App, HtmlPage, HttpError, ScrapeRequest};
use super::basic_auth::{AuthResult, ComparisonQueue};
use super::body::ResponseBody;
use super::budget::Budget;
use super::fair_queue::FairQueue;
use super::gzip::Gzip;
use super::live_config::ConfigState;
use super::server::ServerOptions;
use super::timeouts::{ConnectionTimer, ResponseTimer};
use super::{limits, scrape_request};
use crate::http_counts::SharedLimit;

/// Responds to the requests of all connections.
#[derive(Debug)]
pub(super) struct Router<A> {
    app: A,
    pub(super) options: ServerOptions,
    requests: Arc<Budget>,
    /// For requests that share no collection: status pages and filtered scrapes.
    separate_collections: FairQueue,
    gzip: Gzip,
    unread: Arc<Budget>,
    logins: Arc<ComparisonQueue>,
}

impl<A: App> Router<A> {
    pub(super) fn new(app: A, options: ServerOptions) -> Arc<Self> {
        let (limits, counts) = (&options.limits, &options.counts);
        let requests = limits.requests.unwrap_or(usize::MAX);
        Arc::new(Self {
            app,
            requests: Budget::new(SharedLimit::Requests, requests, counts.clone()),
            separate_collections: FairQueue::new(limits::MAX_SEPARATE_COLLECTIONS),
            gzip: Gzip::default(),
            unread: Budget::with_min_idle(
                SharedLimit::UnreadBytes,
                limits.unread_bytes,
                limits.min_idle,
                counts.clone(),
            ),
            logins: ComparisonQueue::new(counts.clone()),
            options,
        })
    }

    /// The response to one request. `timer` is dropped when the whole body has been written;
    /// `secure` is `true` for a connection with TLS.
    pub(super) async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        mut timer: ResponseTimer,
        secure: bool,
    ) -> Response<ResponseBody> {
        // request bodies are not read, so the next bytes of this connection are no request
        let close = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
        // a body would stay in memory while the request waits for its login or its response
        let (request, _) = request.into_parts();
        let mut response = match malformed(&request) {
            Some((status, error)) => text(status, error),
            None => self.clone().authorize(&request, timer.connection(), secure).await,
        };
        timer.built();
        if request.method == Method::HEAD {
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
        request: &Parts,
        client: &Arc<ConnectionTimer>,
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
        if config.rate_limit.as_ref().is_some_and(|bucket| !bucket.try_take(client.peer())) {
            self.options.counts.limited(SharedLimit::Rate, false);
            return text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
        }
        let result = match &config.auth {
            Some(auth) => auth.authenticate(&request.headers, &self.logins, client).await,
            None => AuthResult::Authorized,
        };
        let mut response = match result {
            AuthResult::Authorized => self.route(request, client).await,
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

    async fn route(
        self: Arc<Self>,
        request: &Parts,
        client: &Arc<ConnectionTimer>,
    ) -> Response<ResponseBody> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let path = request.uri.path();
        let query = request.uri.query();
        let gzip = scrape_request::accepts_gzip(&request.headers);
        if path == self.options.telemetry_path {
            return match scrape_request::parse(query, &request.headers) {
                Ok(scrape) => self.scrape(scrape, gzip, client).await,
                Err(error) => text(StatusCode::BAD_REQUEST, error),
            };
        }
        match path {
            "/api/v1/events" => match scrape_request::parse_events(query) {
                Ok(events) => self.send(Built::json(self.app.events(&events)), client).await,
                Err(error) => text(StatusCode::BAD_REQUEST, error),
            },
            "/-/healthy" => text(StatusCode::OK, "healthy"),
            "/-/ready" => match self.app.ready() {
                Ok(()) => text(StatusCode::OK, "ready"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            _ => self.html(path.to_owned(), scrape_request::pairs(query), gzip, client).await,
        }
    }

    async fn scrape(
        self: Arc<Self>,
        request: ScrapeRequest,
        gzip: bool,
        client: &Arc<ConnectionTimer>,
    ) -> Response<ResponseBody> {
        let content_type = request.format.content_type();
        let filtered = request.is_filtered();
        let build = |router: Arc<Self>| async move {
            let body = router.app.metrics(request).await?;
            Ok(Built::new(content_type, "Accept, Accept-Encoding", body))
        };
        self.build(build, gzip, filtered, client).await
    }

    async fn html(
        self: Arc<Self>,
        path: String,
        query: Vec<(String, String)>,
        gzip: bool,
        client: &Arc<ConnectionTimer>,
    ) -> Response<ResponseBody> {
        let build = |router: Arc<Self>| async move {
            let page = router.app.page(&path, query).await?;
            Ok(page.map_or_else(Built::not_found, Built::html))
        };
        self.build(build, gzip, true, client).await
    }

    /// Builds the response in a task: a panic fails only this response, and the share of parallel
    /// requests is kept until the work has ended, even if the client disconnects.
    async fn build<F>(
        self: Arc<Self>,
        build: impl FnOnce(Arc<Self>) -> F,
        gzip: bool,
        separate_collection: bool,
        client: &Arc<ConnectionTimer>,
    ) -> Response<ResponseBody>
    where
        F: Future<Output = Result<Built, HttpError>> + Send + 'static,
    {
        let limits = &self.options.limits;
        let Some(share) = self.requests.try_take(None, 1, client) else {
            let limit = limits.requests.unwrap_or(usize::MAX);
            return unavailable(format!("limit of {limit} concurrent requests reached"));
        };
        let deadline = Instant::now() + limits.response;
        let seconds = limits.response.as_secs();
        let late = move || HttpError::Unavailable(format!("no response within {seconds} s"));
        let turn = match separate_collection {
            true => match timeout_at(deadline, self.separate_collections.turn(client.peer())).await
            {
                Ok(turn) => turn,
                Err(_) => return unavailable(late().to_string()),
            },
            false => None,
        };
        let build = build(self.clone());
        let router = self.clone();
        let built = tokio::spawn(async move {
            let _held = (share, turn);
            let mut built = timeout_at(deadline, build).await.map_err(|_| late())??;
            if gzip {
                let error = || HttpError::Unavailable("failed to compress response".to_owned());
                built.body = router.gzip.compress(built.body).await.ok_or_else(error)?;
                built.headers.push((CONTENT_ENCODING, "gzip"));
            }
            Ok(built)
        });
        match built.await {
            Ok(Ok(built)) => self.send(built, client).await,
            Ok(Err(HttpError::BadRequest(error))) => text(StatusCode::BAD_REQUEST, error),
            Ok(Err(HttpError::Unavailable(error))) => unavailable(error),
            Err(error) => {
                tracing::error!(%error, "failed to build response (bug)");
                text(StatusCode::INTERNAL_SERVER_ERROR, "failed to build response")
            }
        }
    }

    /// The response with a body that counts as unread until the client has it.
    async fn send(&self, built: Built, client: &Arc<ConnectionTimer>) -> Response<ResponseBody> {
        let body = built.body;
        // one body that several clients read counts once
        let address = body.as_ptr().addr();
        let Some(share) = self.unread.take(Some(address), body.len(), client).await else {
            return unavailable("too many responses have not been read yet".to_owned());
        };
        let mut response = Response::new(ResponseBody::counted(body, share));
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
    fn new(content_type: &'static str, vary: &'static str, body: Bytes) -> Self {
        let headers = vec![
            (CONTENT_TYPE, content_type),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CACHE_CONTROL, "no-store"),
            (VARY, vary),
        ];
        Self { status: StatusCode::OK, headers, body }
    }

    fn html(page: HtmlPage) -> Self {
        let mut built = Self::new("text/html; charset=utf-8", "Accept-Encoding", page.html);
        built.headers.push((CONTENT_SECURITY_POLICY, page.policy));
        built.headers.push((REFERRER_POLICY, "no-referrer"));
        if !page.found {
            built.status = StatusCode::NOT_FOUND;
        }
        built
    }

    fn json(body: Bytes) -> Self {
        Self::new("application/json", "Accept-Encoding", body)
    }

    fn not_found() -> Self {
        let body = Bytes::from_static(b"not found\n");
        let built = Self::new("text/plain; charset=utf-8", "Accept-Encoding", body);
        Self { status: StatusCode::NOT_FOUND, ..built }
    }
}

/// Why a request is malformed; hyper itself rejects the other cases.
fn malformed(request: &Parts) -> Option<(StatusCode, &'static str)> {
    let hosts = request.headers.get_all(HOST).iter().count();
    if request.version == Version::HTTP_11 && hosts != 1 {
        return Some((StatusCode::BAD_REQUEST, "exactly one Host header is required"));
    }
    // hyper counts the headers only in HTTP/1
    let many = request.headers.len() > limits::MAX_HEADERS;
    many.then_some((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers"))
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

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
