//! Plans: steps in order, applied as a whole or not at all.

use crate::{Change, Error, Journal, Network, Result, Step};

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
        observe: impl FnMut(&PlannedStep, Outcome),
    ) -> Result<Journal> {
        let mut journal = Journal::default();
        let note = |change| {
            journal.changes.push(change);
            Ok(())
        };
        match self.apply_noting(network, note, observe) {
            Ok(()) => Ok(journal),
            Err(failure) => {
                // The step's failure is what the caller has to hear of; a further one while going
                // back would only hide it.
                let _ = journal.undo(network, |_| ());
                Err(failure)
            }
        }
    }

    /// Applies the steps in order, telling `note` of each change before it is made and `observe` of
    /// each step when it is done.
    ///
    /// # Errors
    /// The first step that fails, or `note` did; nothing is undone.
    pub(crate) fn apply_noting(
        &self,
        network: &Network,
        mut note: impl FnMut(Change) -> Result<()>,
        mut observe: impl FnMut(&PlannedStep, Outcome),
    ) -> Result<()> {
        for planned in &self.steps {
            let step = &planned.step;
            let mut carry_out = || {
                if step.check(network)? {
                    return Ok(Outcome::AlreadySo);
                }
                note(Change {
                    step: step.clone(),
                    before: step.before(network)?,
                })?;
                step.apply(network).map(|()| Outcome::Changed)
            };
            let outcome = carry_out().map_err(|cause| Error::Step {
                command: step.to_string(),
                cause: Box::new(cause),
            })?;
            observe(planned, outcome);
        }
        Ok(())
    }
}
