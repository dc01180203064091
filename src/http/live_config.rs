//! The web configuration in force, reloaded when its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use hyper::header::{HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::basic_auth::BasicAuth;
use super::config::file::{self, FileStamp, RewriteWait};
use super::config::{self, ConfigError, Pem, TlsConfig, WebConfig};
use super::rate_limit::TokenBucket;
use super::tls;
use super::tls::TlsServer;

/// TLS, users, headers and the rate limit of a server.
///
/// The files are checked for changes at every handshake and request, and read again if they
/// changed. A file that is rewritten in place is read once it has not changed for a tenth of a second.
/// While a file is invalid, all requests are rejected, with one exception: while a certificate and its
/// key do not match, the previous pair stays in use.
#[derive(Debug)]
pub struct LiveConfig {
    /// `None` for a server without a configuration file.
    path: Option<PathBuf>,
    state: Mutex<State>,
    /// The TLS configuration of new connections.
    tls: watch::Sender<Option<Arc<TlsServer>>>,
}

/// The configuration for one request or handshake.
#[derive(Debug, Clone)]
pub(super) enum ConfigState {
    Valid(Arc<ActiveConfig>),
    /// The configuration is invalid; `tls` is whether the last valid one had TLS.
    Invalid {
        tls: bool,
    },
}

/// A configuration in force.
#[derive(Debug, Default)]
pub(super) struct ActiveConfig {
    pub(super) tls: Option<Arc<TlsServer>>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) auth: Option<Arc<BasicAuth>>,
    pub(super) rate_limit: Option<Arc<TokenBucket>>,
    warnings: Vec<String>,
    refuses_all: Option<&'static str>,
}

#[derive(Debug, Default)]
struct State {
    /// The files read; `None` for a file that could not be read.
    files: Vec<(PathBuf, Option<FileStamp>)>,
    /// The hash of all files; connections stay open if it is unchanged.
    hash: Vec<u8>,
    active: Arc<ActiveConfig>,
    error: Option<ConfigError>,
    identity: Option<Identity>,
    /// The wait for the end of a rewrite in place.
    rewriting: RewriteWait,
}

/// A certificate and its key, with their sources.
#[derive(Debug, Clone)]
struct Identity {
    certificate: Pem,
    key: Pem,
    pair: CertifiedKey,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self { path: None, state: Mutex::default(), tls: watch::Sender::new(None) }
    }
}

impl LiveConfig {
    /// Reads the configuration file at `path` and the files that it names.
    ///
    /// # Errors
    /// One of the files is invalid.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let config = Self { path: Some(path.to_owned()), ..Self::default() };
        config.current();
        let error = config.state().error.take();
        error.map_or(Ok(config), Err)
    }

    /// Checks the configuration file at `path` and the files that it names. Returns the settings
    /// that are legal and probably a mistake, one per line.
    ///
    /// # Errors
    /// One of the files is invalid, or a server with this configuration refuses every request.
    pub fn check(path: &Path) -> Result<Vec<String>, ConfigError> {
        let config = Self::open(path)?;
        let active = config.state().active.clone();
        match active.refuses_all {
            Some(reason) => Err(ConfigError::new(path, reason)),
            None => Ok(active.warnings.clone()),
        }
    }

    /// The settings that are legal and probably a mistake, one per line.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.state().active.warnings.clone()
    }

    /// Whether the files were valid at the last check.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.state().error.is_none()
    }

    /// Reads the files again, changed or not.
    ///
    /// # Errors
    /// One of the files is invalid; all requests are rejected until it is fixed.
    pub fn reload(&self) -> Result<(), ConfigError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut state = self.state();
        let read = ReadConfig::read(path, &state);
        self.apply(path, &mut state, read);
        state.error.clone().map_or(Ok(()), Err)
    }

    /// The configuration now in force.
    pub(super) fn current(&self) -> ConfigState {
        let Some(path) = &self.path else {
            return ConfigState::Valid(self.state().active.clone());
        };
        let mut state = self.state();
        if state.is_fresh() {
            state.rewriting = RewriteWait::default();
        } else if !state.is_being_rewritten() {
            let read = ReadConfig::read(path, &state);
            // a rewrite may have begun since
            if !state.is_being_rewritten() && !state.has_changed_since(&read) {
                self.apply(path, &mut state, read);
            }
        }
        match &state.error {
            None => ConfigState::Valid(state.active.clone()),
            Some(_) => ConfigState::Invalid { tls: state.active.tls.is_some() },
        }
    }

    /// Whether new connections use TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.tls.borrow().is_some()
    }

    /// Returns when new connections no longer use `tls`: existing ones should end too, since other
    /// clients may be allowed now.
    pub(super) async fn outdated(&self, tls: &Arc<TlsServer>) {
        let mut current = self.tls.subscribe();
        let changed = |current: &Option<Arc<TlsServer>>| {
            !current.as_ref().is_some_and(|current| Arc::ptr_eq(current, tls))
        };
        // self owns the sender, so waiting cannot fail
        let _ = current.wait_for(changed).await;
    }

    fn apply(&self, path: &Path, state: &mut State, read: ReadConfig) {
        // at startup the caller logs warnings and errors
        let log = !state.files.is_empty();
        let ReadConfig { files, hash, outcome } = read;
        let same = state.hash == hash && state.error.is_none() && outcome.is_ok();
        state.files = files;
        state.rewriting = RewriteWait::default();
        state.hash = hash;
        if same {
            return;
        }
        match outcome {
            Ok((active, identity)) => {
                if log && active.warnings != state.active.warnings {
                    for warning in &active.warnings {
                        tracing::warn!(file = %path.display(), "{warning}");
                    }
                }
                if state.error.take().is_some() {
                    tracing::info!(file = %path.display(), "web configuration is valid again");
                }
                self.tls.send_replace(active.tls.clone());
                state.active = Arc::new(active);
                state.identity = identity;
            }
            Err(error) => {
                if log && state.error.as_ref() != Some(&error) {
                    tracing::error!(
                        %error,
                        "invalid web configuration; all requests are rejected until it is fixed"
                    );
                }
                state.error = Some(error);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_fresh(&self) -> bool {
        let unchanged = |(path, stamp): &(PathBuf, Option<FileStamp>)| {
            stamp.as_ref().is_some_and(|stamp| file::unchanged(path, stamp))
        };
        !self.files.is_empty() && self.files.iter().all(unchanged)
    }

    /// Whether a file is being rewritten in place: its content may be incomplete, and would be valid
    /// with users or certificates missing.
    fn is_being_rewritten(&mut self) -> bool {
        let rewritten = |(path, stamp): &(PathBuf, Option<FileStamp>)| {
            stamp.as_ref().is_some_and(|stamp| file::is_being_rewritten(path, stamp))
        };
        self.files.iter().any(rewritten) && self.rewriting.goes_on()
    }

    /// Whether a file has changed while it was read.
    fn has_changed_since(&mut self, read: &ReadConfig) -> bool {
        let has_changed = |(path, stamp): &(PathBuf, Option<FileStamp>)| {
            stamp.as_ref().is_some_and(|stamp| !file::has_stamp(path, stamp))
        };
        read.files.iter().any(has_changed) && self.rewriting.goes_on()
    }
}

/// A configuration as read, valid or not.
struct ReadConfig {
    files: Vec<(PathBuf, Option<FileStamp>)>,
    hash: Vec<u8>,
    outcome: Result<(ActiveConfig, Option<Identity>), ConfigError>,
}

impl ReadConfig {
    fn read(path: &Path, state: &State) -> Self {
        let mut files = Files::new();
        let outcome = load(path, state, &mut files);
        let hash = files.hash.finish().as_ref().to_vec();
        Self { files: files.read, hash, outcome }
    }
}

/// Reads the files of a configuration; collects their stamps and their hash.
struct Files {
    read: Vec<(PathBuf, Option<FileStamp>)>,
    hash: digest::Context,
}

impl Files {
    fn new() -> Self {
        Self { read: Vec::new(), hash: digest::Context::new(&digest::SHA256) }
    }

    fn read(&mut self, path: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        let read = file::read(path);
        let stamp = read.as_ref().ok().map(|(_, stamp)| *stamp);
        self.read.push((path.to_owned(), stamp));
        let (content, _) = read?;
        self.hash.update(path.as_os_str().as_encoded_bytes());
        self.hash.update(&content.len().to_le_bytes());
        self.hash.update(&content);
        Ok(content)
    }

    fn pem(&mut self, pem: &Pem) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        match pem {
            Pem::Inline(text) => Ok(Zeroizing::new(text.clone().into_bytes())),
            Pem::File(path) => self.read(path),
        }
    }
}

/// Reads and checks all files. `state` has the configuration in force.
fn load(
    path: &Path,
    state: &State,
    files: &mut Files,
) -> Result<(ActiveConfig, Option<Identity>), ConfigError> {
    let config = config::parse(&files.read(path)?, path)?;
    let mut active = ActiveConfig {
        tls: None,
        headers: config.headers.clone(),
        auth: auth(&config, &state.active),
        rate_limit: config.rate_limit.map(|limit| match &state.active.rate_limit {
            Some(bucket) if bucket.limit == limit => bucket.clone(),
            _ => Arc::new(TokenBucket::new(limit)),
        }),
        warnings: config.warnings.clone(),
        refuses_all: config.refuses_all,
    };
    let Some(tls) = &config.tls else { return Ok((active, None)) };
    let roots = match &tls.client_ca {
        Some(ca) => client_roots(ca, files)?,
        None => Vec::new(),
    };
    let identity = match (identity(tls, files), &state.identity) {
        (Ok(identity), _) => identity,
        (Err(error), Some(old)) if old.certificate == tls.certificate && old.key == tls.key => {
            let text = format!("{error}; the previous certificate stays in use");
            active.warnings.push(text);
            old.clone()
        }
        (Err(error), _) => return Err(error),
    };
    let server = tls::server(&config, tls, identity.pair.clone(), roots)
        .map_err(|reason| ConfigError::new(path, reason))?;
    active.tls = Some(Arc::new(server));
    Ok((active, Some(identity)))
}

/// Keeps the cache of accepted credentials while the users are the same.
fn auth(config: &WebConfig, before: &ActiveConfig) -> Option<Arc<BasicAuth>> {
    if config.users.is_empty() {
        return None;
    }
    match &before.auth {
        Some(auth) if *auth.users() == config.users => Some(auth.clone()),
        _ => Some(Arc::new(BasicAuth::new(config.users.clone()))),
    }
}

fn identity(tls: &TlsConfig, files: &mut Files) -> Result<Identity, ConfigError> {
    let certificate = files.pem(&tls.certificate);
    // read even if the certificate is unreadable, so that a change of either file is detected
    let key = files.pem(&tls.key);
    let pair = tls::identity(&certificate?, &key?)
        .map_err(|reason| ConfigError::new(pem_path(&tls.certificate), reason))?;
    Ok(Identity { certificate: tls.certificate.clone(), key: tls.key.clone(), pair })
}

fn client_roots(ca: &Pem, files: &mut Files) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let roots = tls::certificates(&files.pem(ca)?);
    let roots = roots.map_err(|reason| ConfigError::new(pem_path(ca), reason))?;
    if roots.is_empty() {
        return Err(ConfigError::new(pem_path(ca), "contains no certificate"));
    }
    Ok(roots)
}

fn pem_path(pem: &Pem) -> &Path {
    match pem {
        Pem::Inline(_) => tls::inline(),
        Pem::File(path) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_cached_credentials_while_users_are_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        let write = |users: &str, more: &str| {
            std::fs::write(&path, format!("basic_auth_users: {{{users}}}\n{more}")).unwrap();
        };
        let hash = bcrypt::hash("x", 4).unwrap();
        let (one, two) = (format!("a: {hash}"), format!("a: {hash}, b: {hash}"));
        write(&one, "");
        let config = LiveConfig::open(&path).unwrap();
        let auth = || match config.current() {
            ConfigState::Valid(active) => active.auth.clone().unwrap(),
            ConfigState::Invalid { .. } => panic!("{:?}", config.state().error),
        };
        let first = auth();
        write(&one, "rate_limit: {interval: 1s, burst: 9}");
        assert!(Arc::ptr_eq(&first, &auth()));
        write(&two, "");
        assert_eq!(auth().users().len(), 1, "the file may be incomplete");
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(auth().users().len(), 2);
    }
}
