//! What is stored, as somebody sees it.

use clap::Args;
use realmstore_core::{Backend, ReadTxn, RealmStore, Requester, SessionId, Timestamp};

use crate::failure::{Failure, Result};

/// What the options stand under in the help.
const HEADING: &str = "As somebody sees it";

/// Who is asking, in place of an operator, who sees everything.
#[derive(Args)]
pub(crate) struct RequesterArgs {
    /// Only what somebody with this authid may see
    #[arg(long, value_name = "AUTHID", help_heading = HEADING)]
    as_authid: Option<String>,
    /// Only what somebody with this authrole may see
    #[arg(long, value_name = "AUTHROLE", help_heading = HEADING)]
    as_authrole: Option<String>,
    /// Only what this session may see, the last one that had this session ID
    ///
    /// When it joined is looked up in the store, and so are its authid and
    /// authrole where they are not given. A session ID on the list of a
    /// publication means only a session that had joined by then.
    #[arg(long, value_name = "ID", help_heading = HEADING)]
    as_session: Option<SessionId>,
}

impl RequesterArgs {
    /// Who is asking; `None` for an operator.
    ///
    /// # Errors
    /// When the store does not know the session, or not when it joined.
    pub(crate) fn requester<B: Backend, X: ReadTxn>(
        &self,
        store: &RealmStore<B>,
        txn: &X,
    ) -> Result<Option<Requester>> {
        let mut requester = Requester {
            authid: self.as_authid.clone(),
            authrole: self.as_authrole.clone(),
            session: None,
        };
        if let Some(id) = self.as_session {
            let session = store.session_by_id(txn, id, Timestamp::MAX)?;
            let Some(session) = session.map(|session| session.to_owned()).transpose()? else {
                return Err(Failure::new(format!(
                    "there is no session with the WAMP session ID {id}"
                )));
            };
            let Some(joined_at) = session.joined_at else {
                return Err(Failure::new(format!(
                    "nobody can tell what session {id} may see: when it joined is not stored"
                )));
            };
            requester.session = Some((id, joined_at));
            requester.authid = requester.authid.or(session.authid);
            requester.authrole = requester.authrole.or(session.authrole);
        }
        Ok((requester != Requester::default()).then_some(requester))
    }
}
