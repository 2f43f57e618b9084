//! From steps and places to instructions: how far each jump is.

use super::*;

impl Assembly {
    /// The ends, then the instructions.
    pub(super) fn finish(
        mut self,
        (yes, no): Ways,
        snapshot: u32,
    ) -> Result<Vec<SockFilter>, TooLong> {
        self.place(yes);
        self.add(RETURN, snapshot);
        self.place(no);
        self.add(RETURN, 0);
        let starts = self.settle();
        let mut program = Vec::new();
        for (step, start) in self.steps.iter().zip(&starts) {
            match *step {
                Step::Plain(code, k) => program.push(SockFilter { code, jt: 0, jf: 0, k }),
                Step::Jump { code, k, ways: (yes, no), far: false } => {
                    let short = |place| u8::try_from(self.distance(&starts, start + 1, place));
                    let (jt, jf) = (short(yes).unwrap_or(0), short(no).unwrap_or(0));
                    program.push(SockFilter { code, jt, jf, k });
                }
                Step::Jump { code, k, ways: (yes, no), far: true } => {
                    let long = |from, place| u32::try_from(self.distance(&starts, from, place));
                    let always = |k| SockFilter { code: ALWAYS, jt: 0, jf: 0, k };
                    program.push(SockFilter { code, jt: 0, jf: 1, k });
                    program.push(always(long(start + 2, yes).unwrap_or(0)));
                    program.push(always(long(start + 3, no).unwrap_or(0)));
                }
            }
        }
        if program.len() > LIMIT { Err(TooLong) } else { Ok(program) }
    }

    /// Instructions from `from` to the place.
    fn distance(&self, starts: &[usize], from: usize, place: Place) -> usize {
        let target = self.places.get(place).and_then(|step| starts.get(*step));
        target.copied().unwrap_or(0).saturating_sub(from)
    }

    /// Makes jumps far until all fit, which may push others too far; where each step starts.
    fn settle(&mut self) -> Vec<usize> {
        loop {
            let mut starts = Vec::with_capacity(self.steps.len());
            let mut at = 0;
            for step in &self.steps {
                starts.push(at);
                at += if matches!(step, Step::Jump { far: true, .. }) { 3 } else { 1 };
            }
            let too_far = |place, start: &usize| {
                self.distance(&starts, start + 1, place) > usize::from(u8::MAX)
            };
            let longer: Vec<usize> = self
                .steps
                .iter()
                .zip(&starts)
                .enumerate()
                .filter(|(_, (step, start))| match step {
                    Step::Jump { ways: (yes, no), far: false, .. } => {
                        too_far(*yes, start) || too_far(*no, start)
                    }
                    _ => false,
                })
                .map(|(n, _)| n)
                .collect();
            if longer.is_empty() {
                return starts;
            }
            for n in longer {
                if let Some(Step::Jump { far, .. }) = self.steps.get_mut(n) {
                    *far = true;
                }
            }
        }
    }
}
