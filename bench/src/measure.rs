//! Taking turns: every round, each contestant does the work once, the order
//! moving by one, so that whatever slows the machine down slows all.

use crate::Result;
use crate::peers::Peer;
use crate::statistics::median;

/// One line of a table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) work: String,
    /// Unit of the figures.
    pub(crate) unit: &'static str,
    /// Median of each contestant, in their order; `None` where it cannot do it.
    pub(crate) medians: Vec<Option<f64>>,
    /// What ours has to be.
    pub(crate) goals: Vec<Goal>,
}

/// What our figure has to be.
#[derive(Debug, Clone)]
pub(crate) enum Goal {
    /// At most a part of a peer's figure.
    Part {
        /// Whose.
        peer: &'static str,
        /// 16 means at most 1/16.
        divisor: f64,
    },
    /// At most this much.
    AtMost(f64),
    /// At least this part of a peer's figure.
    AtLeast {
        /// Whose.
        peer: &'static str,
        /// 1.5 means at least one and a half times.
        part: f64,
    },
    /// At least this much, which is `words` when asked where it comes from.
    From {
        /// "0.95 × host → container".
        words: &'static str,
        /// The figure; `None` if what it comes from could not be measured.
        limit: Option<f64>,
    },
}

pub(crate) const fn part(peer: &'static str, divisor: f64) -> Goal {
    Goal::Part { peer, divisor }
}

pub(crate) const fn at_least(peer: &'static str, part: f64) -> Goal {
    Goal::AtLeast { peer, part }
}

/// A row of milliseconds.
pub(crate) fn row(work: &str, medians: Vec<Option<f64>>, goals: Vec<Goal>) -> Row {
    Row { work: work.to_owned(), unit: "ms", medians, goals }
}

/// Whoever takes turns has a name.
pub(crate) trait Contestant {
    /// The column's head.
    fn name(&self) -> &str;
}

impl Contestant for Peer {
    fn name(&self) -> &str {
        self.name
    }
}

/// Each contestant's median of one figure over all rounds, as [`turns_of`].
pub(crate) fn turns<P: Contestant>(
    peers: &[P],
    rounds: usize,
    work: impl Fn(&P) -> Result<Option<f64>>,
) -> Vec<Option<f64>> {
    let [medians] = turns_of(peers, rounds, |peer| Ok([work(peer)?]));
    medians
}

/// Each contestant's medians over all rounds; the first round is a warm-up. Who
/// fails is named and does no more of this work.
pub(crate) fn turns_of<P: Contestant, const N: usize>(
    peers: &[P],
    rounds: usize,
    work: impl Fn(&P) -> Result<[Option<f64>; N]>,
) -> [Vec<Option<f64>>; N] {
    let mut figures = vec![vec![Vec::new(); N]; peers.len()];
    let mut failed = vec![false; peers.len()];
    for round in 0..=rounds {
        for turn in 0..peers.len() {
            let nth = (round + turn) % peers.len();
            if failed[nth] {
                continue;
            }
            match work(&peers[nth]) {
                Ok(found) if round > 0 => {
                    figures[nth].iter_mut().zip(found).for_each(|(all, one)| all.extend(one));
                }
                Ok(_) => {}
                Err(reason) => {
                    eprintln!("\nrcnt-bench: a row without {}: {reason}", peers[nth].name());
                    failed[nth] = true;
                }
            }
        }
    }
    eprint!(" .");
    std::array::from_fn(|nth| {
        let mine = figures.iter().zip(&failed);
        mine.map(|(all, failed)| (!failed).then(|| median(all[nth].clone())).flatten()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Runner(&'static str, f64);

    impl Contestant for Runner {
        fn name(&self) -> &str {
            self.0
        }
    }

    #[test]
    fn who_fails_has_no_figure_and_keeps_nobody_else_from_theirs() {
        let runners = [Runner("quick", 1.0), Runner("broken", -1.0), Runner("slow", 5.0)];
        let medians = turns(&runners, 3, |runner| {
            if runner.1 < 0.0 { Err("broken".to_owned()) } else { Ok(Some(runner.1)) }
        });
        assert_eq!(medians, [Some(1.0), None, Some(5.0)]);
    }

    #[test]
    fn several_figures_of_one_work_are_told_apart() {
        let runners = [Runner("one", 1.0), Runner("two", 2.0)];
        let [simple, squared] =
            turns_of(&runners, 2, |runner| Ok([Some(runner.1), Some(runner.1 * runner.1)]));
        assert_eq!(simple, [Some(1.0), Some(2.0)]);
        assert_eq!(squared, [Some(1.0), Some(4.0)]);
    }
}
