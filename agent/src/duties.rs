//! The tasks that run for as long as the agent does. Each is needed: if one ends by a bug the agent
//! is not alive any more, says so, and ends.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinSet};

/// All of them. Dropped, they end.
#[derive(Debug, Default)]
pub(crate) struct Duties {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Duties {
    /// Starts a task that is not meant to end.
    pub(crate) fn spawn<T>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = T> + Send + 'static,
    ) {
        let task = self.tasks.spawn(async {
            task.await;
        });
        self.names.insert(task.id(), name);
    }

    /// Resolves with the name of the first that ended, by a panic or otherwise.
    ///
    /// Cancel safe: one that was not told is told by the next call.
    pub(crate) async fn ended(&mut self) -> &'static str {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return std::future::pending().await,
        };
        self.names.get(&id).copied().unwrap_or("unknown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_ends_is_named_and_those_that_do_not_are_no_reason() {
        for (name, panics) in [("panics", true), ("returns", false)] {
            let mut duties = Duties::default();
            duties.spawn("stays", std::future::pending::<()>());
            duties.spawn(name, async move { assert!(!panics, "a bug") });
            assert_eq!(duties.ended().await, name);
        }
    }
}
