//! Rotated files: their names, and which of them have to go. No file is touched here.
//!
//! A backup is called `<stem>-<UTC yyyy-mm-ddThh-mm-ss.mmm>.log_bkp`. The time is read from the right, so a stem that
//! ends like a time itself is told from its neighbour.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, NaiveDate};

const EXTENSION: &str = ".log_bkp";
/// Length of `2026-11-23T00-25-57.315`.
const TIME_BYTES: usize = 23;

/// A rotated file. Ordered by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backup {
    /// Milliseconds since the epoch at which it was rotated.
    pub ms: i64,
    /// The log file's name without `.log`.
    pub stem: String,
}

/// Why a backup has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surplus {
    /// There are more than `max_backup_files`.
    Count,
    /// It is older than `max_age`.
    Age,
    /// Its space is needed.
    Space,
}

impl Surplus {
    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Age => "age",
            Self::Space => "space",
        }
    }
}

/// Milliseconds since the epoch.
pub fn millis(time: SystemTime) -> i64 {
    let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => ms(after),
        Err(before) => -ms(before.duration()),
    }
}

impl Backup {
    /// The file's name; `None` for a time that four digits for the year cannot tell.
    pub fn file_name(&self) -> Option<String> {
        let time = DateTime::from_timestamp_millis(self.ms)?;
        let time = time.format("%Y-%m-%dT%H-%M-%S%.3f").to_string();
        (time.len() == TIME_BYTES).then(|| format!("{}-{time}{EXTENSION}", self.stem))
    }

    /// The backup of this name; `None` when the name is not exactly one of a backup.
    pub fn parse(file_name: &str) -> Option<Self> {
        let rest = file_name.strip_suffix(EXTENSION)?;
        let (rest, time) = rest.split_at_checked(rest.len().checked_sub(TIME_BYTES)?)?;
        Some(Self {
            ms: parse_time(time)?,
            stem: rest.strip_suffix('-')?.to_owned(),
        })
    }
}

fn parse_time(text: &str) -> Option<i64> {
    let well_formed = text.len() == TIME_BYTES
        && text
            .bytes()
            .zip(*b"0000-00-00T00-00-00.000")
            .all(|(byte, pattern)| match pattern {
                b'0' => byte.is_ascii_digit(),
                separator => byte == separator,
            });
    if !well_formed {
        return None;
    }
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<u32>().ok();
    let time = NaiveDate::from_ymd_opt(
        number(0..4)?.try_into().ok()?,
        number(5..7)?,
        number(8..10)?,
    )?
    .and_hms_milli_opt(
        number(11..13)?,
        number(14..16)?,
        number(17..19)?,
        number(20..23)?,
    )?;
    Some(time.and_utc().timestamp_millis())
}

/// The backups that have to go: for each stem those beyond the newest `count`, and all from before `oldest_ms`.
pub fn surplus(mut backups: Vec<Backup>, count: usize, oldest_ms: i64) -> Vec<(Backup, Surplus)> {
    // Newest first within a stem.
    backups.sort_unstable_by(|a, b| a.stem.cmp(&b.stem).then(b.ms.cmp(&a.ms)));
    let mut out = Vec::new();
    let mut nth = 0;
    let mut stem = String::new();
    for backup in backups {
        if backup.stem != stem {
            stem.clone_from(&backup.stem);
            nth = 0;
        }
        nth += 1;
        if nth > count {
            out.push((backup, Surplus::Count));
        } else if backup.ms < oldest_ms {
            out.push((backup, Surplus::Age));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn backup(stem: &str, ms: i64) -> Backup {
        Backup {
            ms,
            stem: stem.into(),
        }
    }

    #[test]
    fn names_are_those_of_the_contract() {
        let name = "cnf-0_ns1_app-0123456789ab-2026-11-23T00-25-57.315.log_bkp";
        let parsed = Backup::parse(name).unwrap();
        assert_eq!(parsed.stem, "cnf-0_ns1_app-0123456789ab");
        assert_eq!(parsed.file_name().as_deref(), Some(name));
    }

    #[test]
    fn only_the_exact_pattern_is_a_backup() {
        for name in [
            "",
            ".log_bkp",
            "a.log",
            "a-2026-11-23T00-25-57.315.log",
            "a-2026-11-23T00-25-57.315.log_bkp.gz",
            "a_2026-11-23T00-25-57.315.log_bkp",
            "2026-11-23T00-25-57.315.log_bkp",
            "a-2026-11-23T00-25-57.31.log_bkp",
            "a-2026-11-23 00-25-57.315.log_bkp",
            "a-2026-13-23T00-25-57.315.log_bkp",
            "a-2026-02-30T00-25-57.315.log_bkp",
            "a-2026-02-03T24-25-57.315.log_bkp",
            "a-+026-02-03T00-25-57.315.log_bkp",
            "é-2026-02-0éT00-25-57.315.log_bkp",
        ] {
            assert_eq!(Backup::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_stem_that_ends_like_a_time_is_told_from_its_neighbour() {
        let inner = backup("a", 1_000).file_name().unwrap();
        let stem = inner.strip_suffix(".log_bkp").unwrap();
        let outer = backup(stem, 2_000);
        assert_eq!(
            Backup::parse(&outer.file_name().unwrap()),
            Some(outer.clone())
        );
        let all = vec![backup("a", 1), backup("a", 2), outer];
        assert_eq!(surplus(all, 1, 0), [(backup("a", 1), Surplus::Count)]);
    }

    #[test]
    fn the_oldest_go_by_count_and_by_age() {
        let all = vec![
            backup("b", 5),
            backup("a", 30),
            backup("a", 10),
            backup("a", 20),
        ];
        assert_eq!(
            surplus(all.clone(), 2, 0),
            [(backup("a", 10), Surplus::Count)]
        );
        assert_eq!(
            surplus(all.clone(), 9, 11),
            [
                (backup("a", 10), Surplus::Age),
                (backup("b", 5), Surplus::Age)
            ]
        );
        assert_eq!(surplus(all, 9, 5), []);
    }

    proptest! {
        #[test]
        fn any_name_is_read_back(stem in "\\PC{0,40}", ms in -62_135_596_800_000i64..253_402_300_800_000) {
            let backup = backup(&stem, ms);
            let name = backup.file_name();
            prop_assert!(name.is_some());
            prop_assert_eq!(Backup::parse(&name.unwrap_or_default()), Some(backup));
        }

        #[test]
        fn any_text_is_refused_or_read_back(name in "\\PC*") {
            if let Some(backup) = Backup::parse(&name) {
                prop_assert_eq!(backup.file_name(), Some(name));
            }
        }
    }
}
