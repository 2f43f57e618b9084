//! The resctrl group of a container (`linux.intelRdt`), through its life.

use rcnt_runtime::intel_rdt::{Group, Resctrl, Stats, stats};
use rcnt_runtime::plan::ContainerPlan;

use crate::Error;
use crate::state::Saved;

/// Which group `plan` asks for, if the machine can have it; touches nothing.
pub(crate) fn planned(plan: &ContainerPlan) -> Result<Option<Group>, Error> {
    let group = |rdt| Resctrl::find()?.group(rdt);
    Ok(plan.intel_rdt.as_ref().map(group).transpose()?)
}

/// Makes it.
pub(crate) fn make(plan: &ContainerPlan, saved: &Saved) -> Result<(), Error> {
    match (&plan.intel_rdt, &saved.intel_rdt) {
        (Some(rdt), Some(group)) => Ok(Resctrl::find()?.create(group, rdt)?),
        _ => Ok(()),
    }
}

/// Puts a process into it.
pub(crate) fn enter(saved: &Saved, pid: i32) -> Result<(), Error> {
    let enter = |group: &Group| Resctrl::find()?.enter(group, pid);
    Ok(saved.intel_rdt.as_ref().map_or(Ok(()), enter)?)
}

/// Puts ourselves into it, so that our children are born there.
pub(crate) fn enter_self(saved: &Saved) -> Result<(), Error> {
    enter(saved, rustix::process::getpid().as_raw_nonzero().get())
}

/// Removes what was made of it.
pub(crate) fn remove(group: Option<&Group>) -> Result<(), Error> {
    // Unmounted: its groups are gone with it.
    match group.map(|group| (group, Resctrl::find())) {
        Some((group, Ok(resctrl))) => Ok(resctrl.remove(group)?),
        _ => Ok(()),
    }
}

/// A reading; empty for a container without one.
pub(crate) fn reading(saved: &Saved) -> Result<Stats, Error> {
    let read = |group: &Group| stats(&Resctrl::find()?, group);
    Ok(saved.intel_rdt.as_ref().map_or_else(|| Ok(Stats::default()), read)?)
}

/// Other shares; refused in runc's words where there are none.
pub(crate) fn update(saved: &Saved, asked: Asked<'_>) -> Result<(), Error> {
    let Some(resctrl) = asked.check()? else { return Ok(()) };
    let Some(group) = &saved.intel_rdt else {
        let problem = "updating a non-existent Intel RDT configuration is not supported";
        return Err(Error::Refused(problem.into()));
    };
    Ok(resctrl.update(group, asked.l3_cache, asked.memory_bandwidth)?)
}

/// What `update` was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    l3_cache: Option<&'a str>,
    memory_bandwidth: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// An empty text asks for nothing.
    pub(crate) fn new(l3_cache: &'a Option<String>, memory_bandwidth: &'a Option<String>) -> Self {
        let given = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
        Self { l3_cache: given(l3_cache), memory_bandwidth: given(memory_bandwidth) }
    }

    /// The machine's resctrl, when it can do what was asked for; `None` when
    /// nothing was.
    pub(crate) fn check(&self) -> Result<Option<Resctrl>, Error> {
        if self.l3_cache.is_none() && self.memory_bandwidth.is_none() {
            return Ok(None);
        }
        let found = Resctrl::find().ok();
        let refused = |text: &str| Err(Error::Refused(text.into()));
        if self.l3_cache.is_some() && !found.as_ref().is_some_and(Resctrl::shares_cache) {
            return refused("Intel RDT/CAT: l3 cache schema is not enabled");
        }
        if self.memory_bandwidth.is_some() && !found.as_ref().is_some_and(Resctrl::shares_bandwidth)
        {
            return refused("Intel RDT/MBA: memory bandwidth schema is not enabled");
        }
        Ok(found)
    }
}
