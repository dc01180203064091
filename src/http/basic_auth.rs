//! HTTP Basic authentication against bcrypt hashes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use zeroize::Zeroizing;

use super::budget::{Budget, Share};
use super::fair_queue::{FairQueue, Turn};
use super::limits::MAX_WAITING_LOGINS;
use super::timeouts::ConnectionTimer;
use crate::http_counts::{HttpCounts, SharedLimit};
use crate::single_flight::SingleFlight;

/// The users of a server, and a cache of recently accepted credentials.
#[derive(Debug)]
pub(super) struct BasicAuth {
    users: BTreeMap<String, String>,
    /// The highest cost of the users' hashes: every failed login takes that long.
    cost: u32,
    /// `None` if the kernel returned no random bytes: then no comparison is possible.
    key: Option<hmac::Key>,
    accepted: Mutex<VecDeque<Tag>>,
    /// Clients with the same credentials share one comparison.
    comparisons: SingleFlight<Tag, Result<bool, QueueFull>>,
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
    places: Arc<Budget>,
    queue: FairQueue,
}

/// Identifies credentials without containing them: a keyed hash of their parts.
type Tag = [u8; 32];

#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) user: Zeroizing<Vec<u8>>,
    pub(super) password: Zeroizing<Vec<u8>>,
}

impl ComparisonQueue {
    pub(super) fn new(counts: Arc<HttpCounts>) -> Arc<Self> {
        let cores = available_parallelism().map_or(1, usize::from);
        let running = (cores / 2).max(1);
        let places = Budget::new(SharedLimit::Logins, running + MAX_WAITING_LOGINS, counts);
        Arc::new(Self { places, queue: FairQueue::new(running) })
    }

    async fn enter(&self, client: &Arc<ConnectionTimer>) -> Result<(Share, Turn), QueueFull> {
        let place = self.places.try_take(None, 1, client).ok_or(QueueFull)?;
        let turn = self.queue.turn(client.peer()).await.ok_or(QueueFull)?;
        Ok((place, turn))
    }
}

impl BasicAuth {
    pub(super) fn new(users: BTreeMap<String, String>) -> Self {
        let cost = users.values().map(|hash| cost(hash)).max().unwrap_or(bcrypt::DEFAULT_COST);
        Self {
            users,
            cost,
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            accepted: Mutex::default(),
            comparisons: SingleFlight::default(),
        }
    }

    pub(super) fn users(&self) -> &BTreeMap<String, String> {
        &self.users
    }

    /// Whether the `Authorization` header contains the credentials of a user.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        queue: &Arc<ComparisonQueue>,
        client: &Arc<ConnectionTimer>,
    ) -> AuthResult {
        let Some(credentials) = credentials(headers) else { return AuthResult::Unauthorized };
        let user = std::str::from_utf8(&credentials.user).ok();
        let hash = user.and_then(|user| self.users.get(user));
        let Some(tag) = self.tag(&credentials, hash) else { return AuthResult::Overloaded };
        if lock(&self.accepted).contains(&tag) {
            return AuthResult::Authorized;
        }
        let compare = || {
            let (hash, cost) = (hash.cloned(), self.cost);
            let (queue, client) = (queue.clone(), client.clone());
            async move {
                let permits = queue.enter(&client).await?;
                let equal = tokio::task::spawn_blocking(move || {
                    let _permits = permits;
                    compare(&credentials.password, hash.as_deref(), cost)
                });
                Ok(equal.await.unwrap_or(false))
            }
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

/// Whether the password has this hash; `None` for an unknown user. A failed comparison takes as long
/// as one with a hash of `highest` cost, so that the time does not show whether the user exists.
fn compare(password: &[u8], hash: Option<&str>, highest: u32) -> bool {
    // bcrypt ignores all bytes after these; a longer password must not be accepted
    let fits = password.len() <= MAX_PASSWORD_BYTES;
    if hash.is_some_and(|hash| bcrypt::verify(password, hash).unwrap_or(false) && fits) {
        return true;
    }
    for cost in remaining_costs(hash.map(cost), highest) {
        let _ = bcrypt::verify(password, &format!("$2b${cost:02}${DECOY}"));
    }
    false
}

/// The costs of the comparisons that take as long, after one of cost `done`, as one of cost `highest`
/// alone: each cost takes twice as long as the one below.
fn remaining_costs(done: Option<u32>, highest: u32) -> Range<u32> {
    done.map_or(highest..highest + 1, |done| done..highest)
}

fn cost(hash: &str) -> u32 {
    hash.parse::<bcrypt::HashParts>().map_or(0, |parts| parts.get_cost())
}

/// No place is left in the queue of comparisons.
#[derive(Debug, Clone, Copy)]
struct QueueFull;

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

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::super::limits::Limits;
    use super::super::listen_address::Peer;
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        [(AUTHORIZATION, value.parse().unwrap())].into_iter().collect()
    }

    fn basic(credentials: &[u8]) -> HeaderMap {
        headers(&format!("Basic {}", BASE64_STANDARD.encode(credentials)))
    }

    fn queue() -> Arc<ComparisonQueue> {
        ComparisonQueue::new(Arc::default())
    }

    fn client(peer: u32) -> Arc<ConnectionTimer> {
        ConnectionTimer::new(Peer::User(peer), &Limits::default())
    }

    fn auth(users: &[(&str, &[u8])]) -> BasicAuth {
        let users = users.iter();
        let users = users.map(|(user, password)| (*user, bcrypt::hash(password, 4).unwrap()));
        let users = users.map(|(user, hash)| (user.to_owned(), hash)).collect();
        BasicAuth::new(users)
    }

    #[tokio::test]
    async fn authorizes_only_the_right_password() {
        let long = [b'x'; 72];
        let auth = auth(&[("dave", b"dave123"), ("long", &long)]);
        let (queue, client) = (queue(), client(0));
        let login = async |headers: &HeaderMap| auth.authenticate(headers, &queue, &client).await;
        for _ in 0..2 {
            let right = BASE64_STANDARD.encode("dave:dave123");
            for scheme in ["Basic", "basic", "BASIC"] {
                let result = login(&headers(&format!("{scheme} {right}"))).await;
                assert_eq!(result, AuthResult::Authorized);
            }
            assert_eq!(
                login(&basic(&[b"long:", &long[..]].concat())).await,
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
                assert_eq!(login(&wrong).await, AuthResult::Unauthorized, "{wrong:?}");
            }
        }
        assert!(auth.comparisons.is_empty());
        assert_eq!(lock(&auth.accepted).len(), 2);
    }

    #[test]
    fn failed_login_takes_equally_long_for_every_user() {
        let work = |costs: Vec<u32>| costs.into_iter().map(|cost| 1_u64 << cost).sum::<u64>();
        for highest in [4, 10, 12, 18] {
            let unknown = work(remaining_costs(None, highest).collect());
            assert_eq!(unknown, 1 << highest);
            for own in 4..=highest {
                let rest = remaining_costs(Some(own), highest);
                assert_eq!(work([own].into_iter().chain(rest).collect()), unknown, "{own}");
            }
        }
        assert!(bcrypt::verify("x", &format!("$2b$04${DECOY}")).is_ok());
        let users = [4, 6].map(|cost| (cost.to_string(), bcrypt::hash("x", cost).unwrap()));
        assert_eq!(BasicAuth::new(users.into()).cost, 6);
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

    #[tokio::test]
    async fn guesses_of_one_peer_delay_neither_cached_nor_other_logins() {
        let auth = Arc::new(auth(&[("dave", b"dave123"), ("carol", b"carol123")]));
        let queue = queue();
        let login = |text: String, peer| {
            let (auth, queue, client) = (auth.clone(), queue.clone(), client(peer));
            async move { auth.authenticate(&basic(text.as_bytes()), &queue, &client).await }
        };
        let right = || login("dave:dave123".to_owned(), 1);
        assert_eq!(right().await, AuthResult::Authorized);
        // the runtime of this test has one thread: no guess runs before the first await
        let places = queue.places.total();
        let guesses = (0..places * 2).map(|n| login(format!("x:{n}"), 2));
        let guesses: JoinSet<_> = guesses.collect();
        let carol = tokio::spawn(login("carol:carol123".to_owned(), 1));
        tokio::task::yield_now().await;
        assert_eq!(right().await, AuthResult::Authorized);
        assert_eq!(carol.await.unwrap(), AuthResult::Authorized);
        let ended = guesses.len() - queue.places.used();
        println!("{ended} of {} guesses ended before the login of another peer", places * 2);
        let results = guesses.join_all().await;
        let refused = results.iter().filter(|result| **result == AuthResult::Overloaded).count();
        // all but three quarters of the places, unless some guesses end before others begin
        assert!(refused > places / 2, "{results:?}");
        assert!(!results.contains(&AuthResult::Authorized));
    }

    #[tokio::test]
    async fn clients_with_equal_credentials_share_a_comparison() {
        let auth = Arc::new(auth(&[("dave", b"dave123")]));
        let queue = queue();
        let logins: JoinSet<_> = (0..queue.places.total() * 2)
            .map(|_| {
                let (auth, queue) = (auth.clone(), queue.clone());
                async move { auth.authenticate(&basic(b"dave:dave123"), &queue, &client(0)).await }
            })
            .collect();
        let results = logins.join_all().await;
        assert!(results.iter().all(|result| *result == AuthResult::Authorized), "{results:?}");
    }
}
