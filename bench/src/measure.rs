//! Times taken in turns: on a machine that others use as well, what two
//! contenders did in the same moment can be compared, and little else.

use std::time::{Duration, Instant};

/// How long each contender took, round by round.
#[derive(Debug, Default, Clone)]
pub struct Rounds {
    /// By contender, then by round, in seconds.
    seconds: Vec<Vec<f64>>,
}

impl Rounds {
    pub fn new(contenders: usize) -> Self {
        Self {
            seconds: vec![Vec::new(); contenders],
        }
    }

    /// Runs all contenders once in each round. Who goes first changes from round to round.
    pub fn take<C>(
        rounds: usize,
        contenders: &mut [C],
        mut run: impl FnMut(&mut C, usize) -> Duration,
    ) -> Self {
        let mut taken = Self::new(contenders.len());
        for round in 0..rounds {
            for place in 0..contenders.len() {
                let turn = (place + round) % contenders.len();
                let time = run(&mut contenders[turn], round);
                taken.seconds[turn].push(time.as_secs_f64());
            }
        }
        taken
    }

    pub fn push(&mut self, contender: usize, time: Duration) {
        self.seconds[contender].push(time.as_secs_f64());
    }

    /// The seconds that a contender took for a round.
    pub fn median(&self, contender: usize) -> f64 {
        median(self.seconds[contender].iter().copied())
    }

    pub fn sum(&self, contender: usize) -> f64 {
        self.seconds[contender].iter().sum()
    }

    /// How many times as fast as another one a contender is: the median over the rounds.
    pub fn ratio(&self, contender: usize, versus: usize) -> f64 {
        let pairs = self.seconds[contender].iter().zip(&self.seconds[versus]);
        median(pairs.map(|(own, other)| other / own))
    }
}

/// The time that something takes, and what it returns.
pub fn timed<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = run();
    (start.elapsed(), result)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_and_not_that_of_the_medians() {
        let mut rounds = Rounds::new(2);
        for (own, other) in [(1, 2), (10, 20), (5, 50)] {
            rounds.push(0, Duration::from_secs(own));
            rounds.push(1, Duration::from_secs(other));
        }
        assert_eq!(rounds.ratio(0, 1), 2.0);
        assert_eq!(rounds.median(0), 5.0);
        assert_eq!(rounds.sum(1), 72.0);
    }

    #[test]
    fn everybody_has_a_turn_in_each_round_and_the_first_one_changes() {
        let mut order = Vec::new();
        let rounds = Rounds::take(3, &mut ["a", "b", "c"], |name, round| {
            order.push((round, *name));
            Duration::from_secs(1)
        });
        assert_eq!(rounds.sum(2), 3.0);
        let firsts: Vec<_> = order.chunks(3).map(|round| round[0]).collect();
        assert_eq!(firsts, [(0, "a"), (1, "b"), (2, "c")]);
    }
}
