//! HTTP Basic authentication against bcrypt hashes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use crate::single_flight::SingleFlight;

/// The users of a server, and a cache of recently accepted credentials.
#[derive(Debug)]
pub(super) struct BasicAuth {
    users: BTreeMap<String, String>,
    /// The hash compared for unknown users, so that they take as long as known ones.
    decoy: String,
    /// `None` if the kernel returned no random bytes: then no comparison is possible.
    key: Option<hmac::Key>,
    accepted: Mutex<VecDeque<Tag>>,
    /// Clients with the same credentials share one comparison.
    comparisons: SingleFlight<Tag, Result<bool, QueueFull>>,
    queue: Arc<ComparisonQueue>,
}

/// The result of authenticating a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthResult {
    Authorized,
    Unauthorized,
    /// The queue of password comparisons is full.
    Overloaded,
}

/// The comparisons of a server: a few run in parallel, a few more wait.
#[derive(Debug)]
pub(super) struct ComparisonQueue {
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// Identifies credentials without containing them: a keyed hash of their parts.
type Tag = [u8; 32];

#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) user: Zeroizing<Vec<u8>>,
    pub(super) password: Zeroizing<Vec<u8>>,
}

impl Default for ComparisonQueue {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let running = (cores / 2).max(1);
        Self {
            places: Arc::new(Semaphore::new(running + MAX_WAITING)),
            running: Arc::new(Semaphore::new(running)),
        }
    }
}

impl BasicAuth {
    pub(super) fn new(users: BTreeMap<String, String>, queue: Arc<ComparisonQueue>) -> Self {
        let cost = |hash: &String| hash.parse::<bcrypt::HashParts>().map_or(0, |it| it.get_cost());
        let cost = users.values().map(cost).max().unwrap_or(bcrypt::DEFAULT_COST);
        Self {
            users,
            decoy: format!("$2b${cost:02}${DECOY}"),
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            accepted: Mutex::default(),
            comparisons: SingleFlight::default(),
            queue,
        }
    }

    pub(super) fn users(&self) -> &BTreeMap<String, String> {
        &self.users
    }

    /// Whether the `Authorization` header contains the credentials of a user.
    pub(super) async fn authenticate(&self, headers: &HeaderMap) -> AuthResult {
        let Some(credentials) = credentials(headers) else { return AuthResult::Unauthorized };
        let user = std::str::from_utf8(&credentials.user).ok();
        let hash = user.and_then(|user| self.users.get(user));
        let Some(tag) = self.tag(&credentials, hash) else { return AuthResult::Overloaded };
        if lock(&self.accepted).contains(&tag) {
            return AuthResult::Authorized;
        }
        let compare = || {
            let known = hash.is_some();
            let hash = hash.unwrap_or(&self.decoy).clone();
            let queue = self.queue.clone();
            async move { Ok(compare(&queue, credentials.password, hash).await? && known) }
        };
        match self.comparisons.share(tag, compare).await {
            Some(Ok(true)) => {
                self.remember(tag);
                AuthResult::Authorized
            }
            Some(Ok(false)) | None => AuthResult::Unauthorized,
            Some(Err(QueueFull)) => AuthResult::Overloaded,
        }
    }

    /// The hash includes the length of each part, so that different credentials cannot have the
    /// same concatenation (CVE-2022-46146).
    fn tag(&self, credentials: &Credentials, hash: Option<&String>) -> Option<Tag> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        let hash = hash.map_or(&b""[..], |hash| hash.as_bytes());
        for part in [&*credentials.user, hash, &*credentials.password] {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().ok()
    }

    fn remember(&self, tag: Tag) {
        let mut accepted = lock(&self.accepted);
        if accepted.contains(&tag) {
            return;
        }
        if accepted.len() == MAX_ACCEPTED {
            accepted.pop_front();
        }
        accepted.push_back(tag);
    }
}

async fn compare(
    queue: &ComparisonQueue,
    password: Zeroizing<Vec<u8>>,
    hash: String,
) -> Result<bool, QueueFull> {
    let permits = queue.enter().await?;
    let equal = tokio::task::spawn_blocking(move || {
        let _permits = permits;
        let equal = bcrypt::verify(&*password, &hash).unwrap_or(false);
        // bcrypt ignores all bytes after these; a longer password must not be accepted
        equal && password.len() <= MAX_PASSWORD_BYTES
    });
    Ok(equal.await.unwrap_or(false))
}

/// No place is left in the queue of comparisons.
#[derive(Debug, Clone, Copy)]
struct QueueFull;

impl ComparisonQueue {
    async fn enter(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), QueueFull> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| QueueFull)?;
        let turn = self.running.clone().acquire_owned().await.map_err(|_| QueueFull)?;
        Ok((place, turn))
    }
}

/// The credentials in the `Authorization` header; `None` if it is absent or invalid.
pub(super) fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let decoded = Zeroizing::new(BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(Credentials {
        user: Zeroizing::new(decoded[..colon].to_vec()),
        password: Zeroizing::new(decoded[colon + 1..].to_vec()),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const SCHEME: &[u8] = b"basic ";

/// Salt and hash that belong to no password.
const DECOY: &str = "abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232";

/// The bytes of a password that bcrypt compares.
pub const MAX_PASSWORD_BYTES: usize = 72;

/// Accepted credentials in the cache: more than there are scrapers.
const MAX_ACCEPTED: usize = 256;

/// Comparisons that wait, in addition to those running. At a quarter of a second each (cost 12),
/// the last one still completes within the timeout of a scrape.
const MAX_WAITING: usize = 32;

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        [(AUTHORIZATION, value.parse().unwrap())].into_iter().collect()
    }

    fn basic(credentials: &[u8]) -> HeaderMap {
        headers(&format!("Basic {}", BASE64_STANDARD.encode(credentials)))
    }

    fn auth(users: &[(&str, &[u8])]) -> BasicAuth {
        let users = users.iter();
        let users = users.map(|(user, password)| (*user, bcrypt::hash(password, 4).unwrap()));
        let users = users.map(|(user, hash)| (user.to_owned(), hash)).collect();
        BasicAuth::new(users, Arc::default())
    }

    #[tokio::test]
    async fn authorizes_only_the_right_password() {
        let long = [b'x'; 72];
        let auth = auth(&[("dave", b"dave123"), ("long", &long)]);
        for _ in 0..2 {
            let right = BASE64_STANDARD.encode("dave:dave123");
            for scheme in ["Basic", "basic", "BASIC"] {
                let result = auth.authenticate(&headers(&format!("{scheme} {right}"))).await;
                assert_eq!(result, AuthResult::Authorized);
            }
            assert_eq!(
                auth.authenticate(&basic(&[b"long:", &long[..]].concat())).await,
                AuthResult::Authorized
            );
            for wrong in [
                basic(b"dave:bad"),
                basic(b"dave:"),
                basic(b"dave"),
                basic(b"nonexistent:dave123"),
                basic(b":"),
                basic(b"\xff:\xff"),
                basic(&[b"long:", &long[..], b"y"].concat()),
                basic(&[b"dave:dave123\0", &long[..]].concat()),
                headers("Basic !!!"),
                headers("Basic"),
                headers(&format!("Bearer {right}")),
                HeaderMap::new(),
            ] {
                assert_eq!(auth.authenticate(&wrong).await, AuthResult::Unauthorized, "{wrong:?}");
            }
        }
        assert!(auth.comparisons.is_empty());
        assert_eq!(lock(&auth.accepted).len(), 2);
    }

    #[test]
    fn decoy_is_a_hash_of_the_highest_cost() {
        let hash = |cost| bcrypt::hash("x", cost).unwrap();
        let users = [("a".to_owned(), hash(4)), ("b".to_owned(), hash(6))].into();
        let auth = BasicAuth::new(users, Arc::default());
        assert_eq!(auth.decoy.parse::<bcrypt::HashParts>().unwrap().get_cost(), 6);
        assert!(bcrypt::verify("x", &auth.decoy).is_ok());
    }

    #[test]
    fn tags_depend_on_the_borders_between_parts() {
        let auth = auth(&[("a", b"x")]);
        let tag = |user: &[u8], hash: &str, password: &[u8]| {
            let credentials = Credentials {
                user: Zeroizing::new(user.to_vec()),
                password: Zeroizing::new(password.to_vec()),
            };
            auth.tag(&credentials, Some(&hash.to_owned())).unwrap()
        };
        assert_eq!(tag(b"a", "h", b"p"), tag(b"a", "h", b"p"));
        assert_ne!(tag(b"ah", "", b"p"), tag(b"a", "h", b"p"));
        assert_ne!(tag(b"a", "hp", b""), tag(b"a", "h", b"p"));
    }

    /// More concurrent clients than there are places in the queue, before any comparison runs, and
    /// the permit that keeps the comparisons from running.
    async fn flood(
        auth: &Arc<BasicAuth>,
        credentials: impl Fn(usize) -> String,
    ) -> (JoinSet<AuthResult>, OwnedSemaphorePermit) {
        let ComparisonQueue { places, running } = &*auth.queue;
        let all = running.available_permits().try_into().unwrap();
        let held = running.clone().acquire_many_owned(all).await.unwrap();
        let mut flood = JoinSet::new();
        for n in 0..places.available_permits() + 1 {
            let (auth, headers) = (auth.clone(), basic(credentials(n).as_bytes()));
            flood.spawn(async move { auth.authenticate(&headers).await });
        }
        tokio::task::yield_now().await;
        (flood, held)
    }

    #[tokio::test]
    async fn full_queue_does_not_affect_cached_credentials() {
        let auth = Arc::new(auth(&[("dave", b"dave123")]));
        assert_eq!(auth.authenticate(&basic(b"dave:dave123")).await, AuthResult::Authorized);
        let (flood, held) = flood(&auth, |n| format!("x:{n}")).await;
        assert_eq!(auth.authenticate(&basic(b"dave:dave123")).await, AuthResult::Authorized);
        assert_eq!(auth.authenticate(&basic(b"dave:other")).await, AuthResult::Overloaded);
        drop(held);
        let results = flood.join_all().await;
        assert!(
            results.contains(&AuthResult::Overloaded)
                && results.contains(&AuthResult::Unauthorized)
        );
        assert!(!results.contains(&AuthResult::Authorized));
    }

    #[tokio::test]
    async fn clients_with_equal_credentials_share_a_comparison() {
        let auth = Arc::new(auth(&[("dave", b"dave123")]));
        let (flood, held) = flood(&auth, |_| "dave:dave123".to_owned()).await;
        drop(held);
        let results = flood.join_all().await;
        assert!(results.iter().all(|result| *result == AuthResult::Authorized), "{results:?}");
    }
}
