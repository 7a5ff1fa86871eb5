//! No decisions: what runs goes on until it must wait, and nothing fails.

use super::{Strategy, SwitchPoint};
use crate::runtime::ChoiceKind;

/// One run, the plainest.
#[derive(Clone, Debug, Default)]
pub struct DefaultPolicy {
    done: bool,
}

impl Strategy for DefaultPolicy {
    fn name(&self) -> String {
        "default".into()
    }

    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.done, true)
    }

    fn pick(&mut self, at: &SwitchPoint) -> Option<u8> {
        Some(at.default_task())
    }

    fn choose(&mut self, _n: u32, _site: &'static str, _kind: ChoiceKind) -> u32 {
        0
    }
}
