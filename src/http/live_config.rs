//! What stands between a client and the pages, kept as the configuration file says.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use hyper::header::{HeaderName, HeaderValue};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::basic_auth::{Auth, Queue};
use super::config::file::{self, Stamp};
use super::config::{self, Config, ConfigError, Pem, Tls};
use super::rate_limit::Bucket;
use super::tls;

/// TLS, passwords, headers and the rate limit of a server.
///
/// Its files are looked at for every handshake and every request, and read again when they
/// changed. A broken file lets nobody in; only a certificate that is being replaced is served on
/// until its key matches.
#[derive(Debug)]
pub struct Protection {
    /// `None` for a server without configuration file.
    path: Option<PathBuf>,
    state: Mutex<State>,
    /// What new connections are secured with.
    securing: watch::Sender<Option<Arc<ServerConfig>>>,
    logins: Arc<Queue>,
}

/// What holds for one request or one handshake.
#[derive(Debug, Clone)]
pub(super) enum Current {
    Ready(Arc<Loaded>),
    /// The configuration cannot be used; `tls` tells whether the last one that could had TLS.
    Broken {
        tls: bool,
    },
}

/// A configuration in force.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) auth: Option<Arc<Auth>>,
    pub(super) rate: Option<Arc<Bucket>>,
    warnings: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    /// The files read; without stamp those that could not be.
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// Stands for the content of all files; the same content needs no new connections.
    content: Vec<u8>,
    loaded: Arc<Loaded>,
    error: Option<ConfigError>,
    identity: Option<Identity>,
}

/// A certificate and its key, and where the two came from.
#[derive(Debug, Clone)]
struct Identity {
    certificate: Pem,
    key: Pem,
    pair: CertifiedKey,
}

impl Default for Protection {
    fn default() -> Self {
        Self {
            path: None,
            state: Mutex::default(),
            securing: watch::Sender::new(None),
            logins: Arc::default(),
        }
    }
}

impl Protection {
    /// The protection that the file at `path` describes.
    ///
    /// # Errors
    /// What is wrong with the file, or with one that it names.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let protection = Self { path: Some(path.to_owned()), ..Self::default() };
        protection.current();
        let error = protection.state().error.take();
        error.map_or(Ok(protection), Err)
    }

    /// What is legal in the file and probably not meant, a line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.state().loaded.warnings.clone()
    }

    /// Whether the file could be used when it was last looked at.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.state().error.is_none()
    }

    /// Reads the files again, changed or not.
    ///
    /// # Errors
    /// What is wrong with them; nobody is let in until it is mended.
    pub fn reload(&self) -> Result<(), ConfigError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut state = self.state();
        self.read(path, &mut state);
        state.error.clone().map_or(Ok(()), Err)
    }

    /// What holds now.
    pub(super) fn current(&self) -> Current {
        let Some(path) = &self.path else {
            return Current::Ready(self.state().loaded.clone());
        };
        let mut state = self.state();
        if !state.is_fresh() {
            self.read(path, &mut state);
        }
        match &state.error {
            None => Current::Ready(state.loaded.clone()),
            Some(_) => Current::Broken { tls: state.loaded.tls.is_some() },
        }
    }

    /// Whether connections are secured.
    pub(super) fn has_tls(&self) -> bool {
        self.securing.borrow().is_some()
    }

    /// Returns when new connections are no longer secured with `tls`: older ones should end too,
    /// for who may connect has perhaps changed.
    pub(super) async fn outdated(&self, tls: &Arc<ServerConfig>) {
        let mut securing = self.securing.subscribe();
        let other = |now: &Option<Arc<ServerConfig>>| {
            !now.as_ref().is_some_and(|now| Arc::ptr_eq(now, tls))
        };
        // the sender lives in here, so waiting cannot fail
        let _ = securing.wait_for(other).await;
    }

    fn read(&self, path: &Path, state: &mut State) {
        // at the start it is the caller who tells
        let tell = !state.files.is_empty();
        let mut files = Files::new();
        let outcome = self.load(path, state, &mut files);
        let content = files.content.finish().as_ref().to_vec();
        let same = state.content == content && state.error.is_none() && outcome.is_ok();
        state.files = files.read;
        state.content = content;
        if same {
            return;
        }
        match outcome {
            Ok((loaded, identity)) => {
                if tell && loaded.warnings != state.loaded.warnings {
                    for warning in &loaded.warnings {
                        tracing::warn!(file = %path.display(), "{warning}");
                    }
                }
                if state.error.take().is_some() {
                    tracing::info!(file = %path.display(), "the web configuration is usable again");
                }
                self.securing.send_replace(loaded.tls.clone());
                state.loaded = Arc::new(loaded);
                state.identity = identity;
            }
            Err(error) => {
                if tell && state.error.as_ref() != Some(&error) {
                    tracing::error!(%error, "the web configuration is broken: nobody is let in");
                }
                state.error = Some(error);
            }
        }
    }

    fn load(
        &self,
        path: &Path,
        state: &State,
        files: &mut Files,
    ) -> Result<(Loaded, Option<Identity>), ConfigError> {
        let config = config::parse(&files.read(path)?, path)?;
        let mut loaded = Loaded {
            tls: None,
            headers: config.headers.clone(),
            auth: self.auth(&config, &state.loaded),
            rate: config.rate.map(|rate| match &state.loaded.rate {
                Some(bucket) if bucket.rate == rate => bucket.clone(),
                _ => Arc::new(Bucket::new(rate)),
            }),
            warnings: config.warnings.clone(),
        };
        let Some(tls) = &config.tls else { return Ok((loaded, None)) };
        let roots = match &tls.client_ca {
            Some(ca) => client_roots(ca, files)?,
            None => Vec::new(),
        };
        let identity = match (identity(tls, files), &state.identity) {
            (Ok(identity), _) => identity,
            (Err(error), Some(old)) if old.certificate == tls.certificate && old.key == tls.key => {
                let text = format!("{error}; the certificate before it is served on");
                loaded.warnings.push(text);
                old.clone()
            }
            (Err(error), _) => return Err(error),
        };
        let server = tls::server(&config, tls, identity.pair.clone(), roots)
            .map_err(|what| ConfigError::new(path, what))?;
        loaded.tls = Some(Arc::new(server));
        Ok((loaded, Some(identity)))
    }

    /// Who has logged in stays so while the users are the same.
    fn auth(&self, config: &Config, before: &Loaded) -> Option<Arc<Auth>> {
        if config.users.is_empty() {
            return None;
        }
        match &before.auth {
            Some(auth) if *auth.users() == config.users => Some(auth.clone()),
            _ => Some(Arc::new(Auth::new(config.users.clone(), self.logins.clone()))),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_fresh(&self) -> bool {
        let same = |(path, stamp): &(PathBuf, Option<Stamp>)| {
            stamp.as_ref().is_some_and(|stamp| file::unchanged(path, stamp))
        };
        !self.files.is_empty() && self.files.iter().all(same)
    }
}

/// The files that a configuration consists of, as they are read.
struct Files {
    read: Vec<(PathBuf, Option<Stamp>)>,
    content: digest::Context,
}

impl Files {
    fn new() -> Self {
        Self { read: Vec::new(), content: digest::Context::new(&digest::SHA256) }
    }

    fn read(&mut self, path: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        let read = file::read(path);
        let stamp = read.as_ref().ok().map(|(_, stamp)| *stamp);
        self.read.push((path.to_owned(), stamp));
        let (content, _) = read?;
        self.content.update(path.as_os_str().as_encoded_bytes());
        self.content.update(&content.len().to_le_bytes());
        self.content.update(&content);
        Ok(content)
    }

    fn pem(&mut self, pem: &Pem) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        match pem {
            Pem::Inline(text) => Ok(Zeroizing::new(text.clone().into_bytes())),
            Pem::File(path) => self.read(path),
        }
    }
}

fn identity(tls: &Tls, files: &mut Files) -> Result<Identity, ConfigError> {
    let certificate = files.pem(&tls.certificate);
    // read even if the certificate cannot be, so that a change of either is noticed
    let key = files.pem(&tls.key);
    let pair = tls::identity(&certificate?, &key?)
        .map_err(|what| ConfigError::new(place(&tls.certificate), what))?;
    Ok(Identity { certificate: tls.certificate.clone(), key: tls.key.clone(), pair })
}

fn client_roots(ca: &Pem, files: &mut Files) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let roots = tls::certificates(&files.pem(ca)?);
    let roots = roots.map_err(|what| ConfigError::new(place(ca), what))?;
    if roots.is_empty() {
        return Err(ConfigError::new(place(ca), "there is no certificate in it"));
    }
    Ok(roots)
}

fn place(pem: &Pem) -> &Path {
    match pem {
        Pem::Inline(_) => tls::inline(),
        Pem::File(path) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_logged_in_stays_so_while_the_users_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        let write = |users: &str, more: &str| {
            std::fs::write(&path, format!("basic_auth_users: {{{users}}}\n{more}")).unwrap();
        };
        let hash = bcrypt::hash("x", 4).unwrap();
        let (one, two) = (format!("a: {hash}"), format!("a: {hash}, b: {hash}"));
        write(&one, "");
        let protection = Protection::open(&path).unwrap();
        let auth = || match protection.current() {
            Current::Ready(loaded) => loaded.auth.clone().unwrap(),
            Current::Broken { .. } => panic!("{:?}", protection.state().error),
        };
        let first = auth();
        write(&one, "rate_limit: {interval: 1s, burst: 9}");
        assert!(Arc::ptr_eq(&first, &auth()));
        write(&two, "");
        assert_eq!(auth().users().len(), 2);
    }
}
