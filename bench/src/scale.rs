//! How much is measured.

/// The numbers of a run.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Publications that are stored without waiting for the disk; three events for each.
    pub publications: u64,
    /// Publications that are stored durably.
    pub durable_publications: u64,
    /// Rounds of everything that is measured more than once.
    pub rounds: usize,
    /// Queries of one system in one round.
    pub queries: usize,
    /// Publications of the sample that cfxdb is given.
    pub sample: u64,
    /// For how long the writers of a round write.
    pub writing: std::time::Duration,
    /// How many events the stores have that show how answers slow down as a store grows.
    pub growth: &'static [u64],
    /// The same for sled, which takes minutes to store millions.
    pub growth_of_sled: &'static [u64],
}

impl Scale {
    /// Whether everything works: some seconds, whose numbers mean nothing.
    pub const QUICK: Self = Self {
        publications: 1_500,
        durable_publications: 500,
        rounds: 3,
        queries: 20,
        sample: 300,
        writing: std::time::Duration::from_millis(100),
        growth: &[1_000, 3_000],
        growth_of_sled: &[1_000, 3_000],
    };

    /// What the documented numbers come from.
    pub const STANDARD: Self = Self {
        publications: 1_000_000,
        durable_publications: 200_000,
        rounds: 9,
        queries: 1_000,
        sample: 20_000,
        writing: std::time::Duration::from_secs(1),
        growth: &[10_000, 100_000, 1_000_000, 10_000_000],
        growth_of_sled: &[10_000, 100_000, 1_000_000],
    };

    /// The same with a million durable publications and ten million events on sled as well.
    pub const FULL: Self = Self {
        durable_publications: 1_000_000,
        growth_of_sled: Self::STANDARD.growth,
        ..Self::STANDARD
    };
}
