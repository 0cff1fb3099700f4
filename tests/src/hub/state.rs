//! State that both listeners share.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use axum::http::{HeaderMap, StatusCode};
use tokio_util::sync::CancellationToken;

use super::HubConfig;
use super::access::{Access, Tokens, Visibility, Wanted};
use super::answer::Refusal;
use super::cdn::Signer;
use super::faults::Rules;
use super::model::{Commit, Content, Model, RepositoryError, StoredFile};
use super::pace::Pacer;
use super::stats::Log;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) faults: Rules,
    pub(crate) stats: Log,
    pub(crate) pacer: Arc<Pacer>,
    pub(crate) signer: Signer,
    pub(crate) page_size: usize,
    pub(crate) xet_headers: bool,
    pub(crate) stopped: CancellationToken,
    catalogue: RwLock<Catalogue>,
}

#[derive(Debug, Default)]
struct Catalogue {
    models: BTreeMap<String, Model>,
    tokens: Tokens,
}

impl State {
    pub(crate) fn new(config: &HubConfig, cdn_port: u16, stopped: CancellationToken) -> Self {
        Self {
            faults: Rules::default(),
            stats: Log::default(),
            pacer: Arc::new(Pacer::new(config.bytes_per_second)),
            signer: Signer::new(config.signing, config.url_lifetime_seconds, cdn_port),
            page_size: config.page_size.max(1),
            xet_headers: config.xet_headers,
            stopped,
            catalogue: RwLock::default(),
        }
    }

    pub(crate) async fn commit(
        &self,
        model: &str,
        branch: &str,
        files: BTreeMap<String, Content>,
    ) -> Result<String, RepositoryError> {
        let name = model.to_owned();
        let commit = tokio::task::spawn_blocking(move || Commit::new(&name, files))
            .await
            .map_err(|error| RepositoryError::Read {
                path: model.into(),
                source: std::io::Error::other(error),
            })??;
        let id = commit.id.clone();
        let mut catalogue = self.write();
        let model = catalogue
            .models
            .entry(model.to_owned())
            .or_insert_with(|| Model::new(model));
        model.commits.insert(id.clone(), Arc::new(commit));
        model.references.insert(branch.to_owned(), id.clone());
        Ok(id)
    }

    pub(crate) fn move_branch(&self, model: &str, branch: &str, commit: &str) -> Result<(), RepositoryError> {
        let mut catalogue = self.write();
        let model = catalogue.model(model)?;
        if !model.commits.contains_key(commit) {
            return Err(RepositoryError::NoCommit {
                model: model.id.clone(),
                commit: commit.to_owned(),
            });
        }
        model.references.insert(branch.to_owned(), commit.to_owned());
        Ok(())
    }

    pub(crate) fn set_access(&self, model: &str, access: Access) -> Result<(), RepositoryError> {
        self.write().model(model)?.access = access;
        Ok(())
    }

    pub(crate) fn grant(&self, token: &str, models: impl Iterator<Item = String>) {
        self.write().tokens.grant(token, models);
    }

    /// Finds the commit of a revision, if the request may see it.
    pub(crate) fn find(
        &self,
        headers: &HeaderMap,
        model: &str,
        revision: &str,
        wanted: Wanted,
    ) -> Result<Found, Refusal> {
        let catalogue = self.read();
        let bearer = catalogue.tokens.bearer(headers)?;
        let model = catalogue
            .models
            .get(model)
            .ok_or_else(|| bearer.repository_not_found())?;
        let visibility = bearer.visibility(&model.id, model.access, wanted)?;
        let commit = model.commit(revision).ok_or_else(|| {
            Refusal::new(
                StatusCode::NOT_FOUND,
                Some("RevisionNotFound"),
                format!("Invalid rev id: {revision}"),
            )
        })?;
        Ok(Found {
            commit,
            access: model.access,
            visibility,
        })
    }

    /// Branches and tags of a model.
    pub(crate) fn references(&self, headers: &HeaderMap, model: &str) -> Result<BTreeMap<String, String>, Refusal> {
        let catalogue = self.read();
        let bearer = catalogue.tokens.bearer(headers)?;
        let model = catalogue
            .models
            .get(model)
            .ok_or_else(|| bearer.repository_not_found())?;
        bearer.visibility(&model.id, model.access, Wanted::Listing)?;
        Ok(model.references.clone())
    }

    /// Finds a large file by its sha256, for the CDN.
    pub(crate) fn large_file(&self, sha256: &str) -> Option<Arc<StoredFile>> {
        self.read()
            .models
            .values()
            .flat_map(|model| model.commits.values())
            .flat_map(|commit| commit.files.values())
            .find(|file| file.sha256 == sha256)
            .cloned()
    }

    /// The branches of every model, with their commits.
    pub(crate) fn models(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let catalogue = self.read();
        let references = |model: &Model| model.references.clone();
        catalogue
            .models
            .iter()
            .map(|(id, model)| (id.clone(), references(model)))
            .collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalogue {
    fn model(&mut self, id: &str) -> Result<&mut Model, RepositoryError> {
        self.models
            .get_mut(id)
            .ok_or_else(|| RepositoryError::NoModel(id.to_owned()))
    }
}

/// A commit that a request may see.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) commit: Arc<Commit>,
    pub(crate) access: Access,
    pub(crate) visibility: Visibility,
}
