//! Medians and percentiles.

/// The middle one; `None` of none.
pub(crate) fn median(figures: Vec<f64>) -> Option<f64> {
    percentile(figures, 0.5)
}

/// The figure that `part` of all are below; `None` of none.
pub(crate) fn percentile(mut figures: Vec<f64>, part: f64) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let nth = (figures.len() as f64 * part) as usize;
    figures.get(nth.min(figures.len().saturating_sub(1))).copied()
}

/// What somebody who asked again and again found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Answers {
    /// How many per second.
    pub(crate) per_second: f64,
    /// Microseconds from asking to the answer.
    pub(crate) mean: f64,
    /// That of half of all at most.
    pub(crate) p50: f64,
    /// That of 99 of 100 at most.
    pub(crate) p99: f64,
}

impl Answers {
    /// From each answer's microseconds, and the seconds it all took.
    pub(crate) fn new(micros: Vec<f64>, seconds: f64) -> Option<Self> {
        let count = micros.len() as f64;
        let mean = micros.iter().sum::<f64>() / count;
        let p50 = percentile(micros.clone(), 0.5)?;
        let p99 = percentile(micros, 0.99)?;
        Some(Self { per_second: count / seconds, mean, p50, p99 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_none_there_is_no_median() {
        assert_eq!(median(Vec::new()), None);
        assert_eq!(Answers::new(Vec::new(), 1.0), None);
    }

    #[test]
    fn the_median_does_not_mind_one_that_is_far_off() {
        assert_eq!(median(vec![3.0, 1000.0, 1.0]), Some(3.0));
    }

    #[test]
    fn of_a_hundred_answers_the_slowest_is_the_p99() {
        let micros = (1..=100).map(f64::from).collect();
        let answers = Answers::new(micros, 2.0);
        let wanted = Answers { per_second: 50.0, mean: 50.5, p50: 51.0, p99: 100.0 };
        assert_eq!(answers, Some(wanted));
    }
}
