//! Who may see the pages: HTTP Basic authentication against bcrypt hashes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::available_parallelism;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

/// The users of a server, and which credentials were right lately.
#[derive(Debug)]
pub(super) struct Auth {
    users: BTreeMap<String, String>,
    /// Compared for users that do not exist, so that they take as long as those that do.
    decoy: String,
    /// `None` if the kernel gave no random bytes: then nothing is remembered.
    key: Option<hmac::Key>,
    right: Mutex<VecDeque<Tag>>,
    /// Comparisons going on; who brings the same credentials waits for the same one.
    comparing: Mutex<HashMap<Tag, Weak<OnceCell<bool>>>>,
    queue: Arc<Queue>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Welcome,
    Stranger,
    /// Too many passwords are being compared to tell.
    Busy,
}

/// The comparisons of a server: a few at a time, and a few more that wait.
#[derive(Debug)]
pub(super) struct Queue {
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// Stands for credentials without giving them away: a keyed hash of their parts.
type Tag = [u8; 32];

#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) user: Zeroizing<Vec<u8>>,
    pub(super) password: Zeroizing<Vec<u8>>,
}

impl Default for Queue {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let running = (cores / 2).max(1);
        Self {
            places: Arc::new(Semaphore::new(running + WAITING)),
            running: Arc::new(Semaphore::new(running)),
        }
    }
}

impl Auth {
    pub(super) fn new(users: BTreeMap<String, String>, queue: Arc<Queue>) -> Self {
        let cost = |hash: &String| hash.parse::<bcrypt::HashParts>().map_or(0, |it| it.get_cost());
        let cost = users.values().map(cost).max().unwrap_or(bcrypt::DEFAULT_COST);
        Self {
            users,
            decoy: format!("$2b${cost:02}${DECOY}"),
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            right: Mutex::default(),
            comparing: Mutex::default(),
            queue,
        }
    }

    pub(super) fn users(&self) -> &BTreeMap<String, String> {
        &self.users
    }

    /// Whether the credentials in these headers are those of a user.
    pub(super) async fn judge(&self, headers: &HeaderMap) -> Verdict {
        let Some(credentials) = credentials(headers) else { return Verdict::Stranger };
        let user = std::str::from_utf8(&credentials.user).ok();
        let hash = user.and_then(|user| self.users.get(user));
        let Some(tag) = self.tag(&credentials, hash) else { return Verdict::Busy };
        if lock(&self.right).contains(&tag) {
            return Verdict::Welcome;
        }
        let comparison = self.join(tag);
        let outcome = comparison.get_or_try_init(|| self.compare(credentials.password, hash)).await;
        let outcome = outcome.copied();
        drop(comparison);
        self.sweep();
        match outcome {
            Ok(true) => {
                self.remember(tag);
                Verdict::Welcome
            }
            Ok(false) => Verdict::Stranger,
            Err(Busy) => Verdict::Busy,
        }
    }

    async fn compare(
        &self,
        password: Zeroizing<Vec<u8>>,
        hash: Option<&String>,
    ) -> Result<bool, Busy> {
        let place = self.queue.enter().await?;
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.decoy).clone();
        let right = tokio::task::spawn_blocking(move || {
            let _place = place;
            let right = bcrypt::verify(&*password, &hash).unwrap_or(false);
            // bcrypt looks at no more than this; what follows must not be taken for right
            right && password.len() <= LONGEST_PASSWORD
        });
        Ok(right.await.unwrap_or(false) && known)
    }

    /// The lengths keep apart what would otherwise be the same row of bytes (CVE-2022-46146).
    fn tag(&self, credentials: &Credentials, hash: Option<&String>) -> Option<Tag> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        let hash = hash.map_or(&b""[..], |hash| hash.as_bytes());
        for part in [&*credentials.user, hash, &*credentials.password] {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().ok()
    }

    fn join(&self, tag: Tag) -> Arc<OnceCell<bool>> {
        let mut comparing = lock(&self.comparing);
        let known = comparing.get(&tag).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let comparison = Arc::default();
            comparing.insert(tag, Arc::downgrade(&comparison));
            comparison
        })
    }

    /// Forgets the comparisons that nobody waits for, also of clients that went away meanwhile.
    fn sweep(&self) {
        lock(&self.comparing).retain(|_, comparison| comparison.strong_count() > 0);
    }

    fn remember(&self, tag: Tag) {
        let mut right = lock(&self.right);
        if right.contains(&tag) {
            return;
        }
        if right.len() == REMEMBERED {
            right.pop_front();
        }
        right.push_back(tag);
    }
}

/// No place in the queue.
#[derive(Debug)]
struct Busy;

impl Queue {
    async fn enter(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Busy> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Busy)?;
        let turn = self.running.clone().acquire_owned().await.map_err(|_| Busy)?;
        Ok((place, turn))
    }
}

/// What a client says it is; `None` if it says nothing, or nothing that makes sense.
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

/// Salt and hash of nobody's password.
const DECOY: &str = "abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232";

/// The bytes of a password that bcrypt looks at.
pub const LONGEST_PASSWORD: usize = 72;

/// Credentials remembered as right: more than there are scrapers.
const REMEMBERED: usize = 256;

/// Comparisons that wait, beyond those being made. At a quarter of a second each (cost 12), the
/// last of them still hears within the timeout of a scrape.
const WAITING: usize = 32;

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

    fn auth(users: &[(&str, &[u8])]) -> Auth {
        let users = users.iter();
        let users = users.map(|(user, password)| (*user, bcrypt::hash(password, 4).unwrap()));
        let users = users.map(|(user, hash)| (user.to_owned(), hash)).collect();
        Auth::new(users, Arc::default())
    }

    #[tokio::test]
    async fn only_the_right_password_is_welcome() {
        let long = [b'x'; 72];
        let auth = auth(&[("dave", b"dave123"), ("long", &long)]);
        for _ in 0..2 {
            let right = BASE64_STANDARD.encode("dave:dave123");
            for scheme in ["Basic", "basic", "BASIC"] {
                let verdict = auth.judge(&headers(&format!("{scheme} {right}"))).await;
                assert_eq!(verdict, Verdict::Welcome);
            }
            assert_eq!(auth.judge(&basic(&[b"long:", &long[..]].concat())).await, Verdict::Welcome);
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
                assert_eq!(auth.judge(&wrong).await, Verdict::Stranger, "{wrong:?}");
            }
        }
        assert!(lock(&auth.comparing).is_empty());
        assert_eq!(lock(&auth.right).len(), 2);
    }

    #[test]
    fn the_decoy_is_a_hash_of_the_highest_cost() {
        let hash = |cost| bcrypt::hash("x", cost).unwrap();
        let users = [("a".to_owned(), hash(4)), ("b".to_owned(), hash(6))].into();
        let auth = Auth::new(users, Arc::default());
        assert_eq!(auth.decoy.parse::<bcrypt::HashParts>().unwrap().get_cost(), 6);
        assert!(bcrypt::verify("x", &auth.decoy).is_ok());
    }

    #[test]
    fn parts_of_credentials_are_kept_apart() {
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

    /// More clients at once than there are places, before any comparison is made; and what holds
    /// the comparisons back.
    async fn flood(
        auth: &Arc<Auth>,
        credentials: impl Fn(usize) -> String,
    ) -> (JoinSet<Verdict>, OwnedSemaphorePermit) {
        let Queue { places, running } = &*auth.queue;
        let all = running.available_permits().try_into().unwrap();
        let held = running.clone().acquire_many_owned(all).await.unwrap();
        let mut flood = JoinSet::new();
        for n in 0..places.available_permits() + 1 {
            let (auth, headers) = (auth.clone(), basic(credentials(n).as_bytes()));
            flood.spawn(async move { auth.judge(&headers).await });
        }
        tokio::task::yield_now().await;
        (flood, held)
    }

    #[tokio::test]
    async fn a_flood_finds_the_queue_full_and_the_remembered_do_not_notice() {
        let auth = Arc::new(auth(&[("dave", b"dave123")]));
        assert_eq!(auth.judge(&basic(b"dave:dave123")).await, Verdict::Welcome);
        let (flood, held) = flood(&auth, |n| format!("x:{n}")).await;
        assert_eq!(auth.judge(&basic(b"dave:dave123")).await, Verdict::Welcome);
        assert_eq!(auth.judge(&basic(b"dave:other")).await, Verdict::Busy);
        drop(held);
        let verdicts = flood.join_all().await;
        assert!(verdicts.contains(&Verdict::Busy) && verdicts.contains(&Verdict::Stranger));
        assert!(!verdicts.contains(&Verdict::Welcome));
    }

    #[tokio::test]
    async fn many_who_bring_the_same_credentials_wait_for_one_comparison() {
        let auth = Arc::new(auth(&[("dave", b"dave123")]));
        let (flood, held) = flood(&auth, |_| "dave:dave123".to_owned()).await;
        drop(held);
        let verdicts = flood.join_all().await;
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Welcome), "{verdicts:?}");
    }

    #[test]
    fn a_comparison_is_kept_as_long_as_somebody_waits_for_it() {
        let auth = auth(&[]);
        let waits = auth.join([1; 32]);
        drop(auth.join([2; 32]));
        auth.sweep();
        assert_eq!(lock(&auth.comparing).len(), 1);
        assert!(Arc::ptr_eq(&waits, &auth.join([1; 32])));
    }
}
