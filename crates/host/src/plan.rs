//! Plans, and the journal that takes a plan back.

use crate::{Before, Error, Network, Result, Step};

/// A list of steps with a title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the steps are for, in a few words.
    pub title: String,
    /// The steps, in the order in which they are applied.
    pub steps: Vec<PlannedStep>,
}

/// A step with the reason why it is in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// The step.
    pub step: Step,
    /// Why it is needed, for a person; empty where it goes without saying.
    pub reason: &'static str,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was so already; nothing was done and nothing will be undone.
    AlreadySo,
    /// It was made so.
    Changed,
}

/// A step that was applied, and how it was before.
#[derive(Clone, Debug)]
pub struct Change {
    /// The step.
    pub step: Step,
    /// How it was before.
    pub before: Before,
}

/// What a plan changed, oldest first.
#[derive(Clone, Debug, Default)]
#[must_use = "a journal that is dropped can no longer be undone"]
pub struct Journal {
    /// The changes; steps that were so already are not among them.
    pub changes: Vec<Change>,
}

impl Plan {
    /// A plan without steps yet.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            steps: Vec::new(),
        }
    }

    /// Adds a step.
    #[must_use]
    pub fn step(self, step: Step) -> Self {
        self.because("", step)
    }

    /// Adds a step with its reason.
    #[must_use]
    pub fn because(mut self, reason: &'static str, step: Step) -> Self {
        self.steps.push(PlannedStep { step, reason });
        self
    }

    /// Applies the steps in order to the calling thread's namespace, telling `observe` of each.
    ///
    /// # Errors
    /// The first step that fails; what had been changed before it is undone.
    pub fn apply(
        &self,
        network: &Network,
        mut observe: impl FnMut(&PlannedStep, Outcome),
    ) -> Result<Journal> {
        let mut journal = Journal::default();
        for planned in &self.steps {
            match carry_out(&planned.step, network) {
                Ok(None) => observe(planned, Outcome::AlreadySo),
                Ok(Some(before)) => {
                    journal.changes.push(Change {
                        step: planned.step.clone(),
                        before,
                    });
                    observe(planned, Outcome::Changed);
                }
                Err(cause) => {
                    // The step's failure is what the caller has to hear of; a further one while
                    // going back would only hide it.
                    let _ = journal.undo(network, |_| ());
                    return Err(Error::Step {
                        command: planned.step.to_string(),
                        cause: Box::new(cause),
                    });
                }
            }
        }
        Ok(journal)
    }
}

/// Applies a step unless it is so already, and says how it was before.
fn carry_out(step: &Step, network: &Network) -> Result<Option<Before>> {
    if step.check(network)? {
        Ok(None)
    } else {
        step.apply(network).map(Some)
    }
}

impl Journal {
    /// Undoes the changes, newest first, telling `observe` of each. It goes on after a failure.
    ///
    /// # Errors
    /// The first undo that failed.
    pub fn undo(self, network: &Network, mut observe: impl FnMut(&Change)) -> Result<()> {
        let mut first_failure = Ok(());
        for change in self.changes.iter().rev() {
            let undone = change
                .step
                .undo(network, &change.before)
                .map_err(|cause| Error::Step {
                    command: format!("undo of {}", change.step),
                    cause: Box::new(cause),
                });
            observe(change);
            first_failure = first_failure.and(undone);
        }
        first_failure
    }
}
