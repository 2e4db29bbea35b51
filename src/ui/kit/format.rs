//! Numbers and times as people read them. Pure, and the same on both sides.

use crate::domain::civil;

/// `n / unit` rounded to so many decimals, in whole numbers: std's printing of floats is a fortieth of the download.
fn decimal(n: u64, unit: u64, decimals: u32) -> String {
    let scale = 10_u64.pow(decimals);
    let rounded = n.saturating_mul(scale).saturating_add(unit / 2) / unit;
    let width = decimals as usize;
    format!("{}.{:0width$}", rounded / scale, rounded % scale)
}

/// A duration in milliseconds: `12 ms`, `1.4 s`, `14 s`, `2 min 5 s`, `1 h 3 min`.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..9950 => format!("{} s", decimal(ms, 1000, 1)),
        9950..60_000 => format!("{} s", (ms + 500) / 1000),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A size in bytes: `812 B`, `3.4 KB`, `12 MB`.
pub fn bytes(n: u64) -> String {
    let (unit, name) = match n {
        0..1000 => return format!("{n} B"),
        1000..1_000_000 => (1000, "KB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    if n < unit * 10 - unit / 20 {
        format!("{} {name}", decimal(n, unit, 1))
    } else {
        format!("{} {name}", n.saturating_add(unit / 2) / unit)
    }
}

/// A count: `950`, `12.4k`, `1.2M`.
pub fn compact(n: u64) -> String {
    let (unit, name) = match n {
        0..1000 => return n.to_string(),
        1000..1_000_000 => (1000, "k"),
        _ => (1_000_000, "M"),
    };
    let number = decimal(n, unit, 1);
    format!("{}{name}", number.trim_end_matches(".0"))
}

/// An amount in millionths of a dollar: `0.8 ¢`, `12.4 ¢`, `$1.20`.
pub fn money(micro: u64) -> String {
    match micro {
        0..1_000_000 => format!("{} ¢", decimal(micro, 10_000, 1).trim_end_matches(".0")),
        _ => format!("${}", decimal(micro, 1_000_000, 2)),
    }
}

/// How long ago a moment was: `just now`, `5 min ago`, `3 h ago`, `yesterday`, `12 days ago`, then the date.
pub fn ago(at: u64, now: u64) -> String {
    let seconds = now.saturating_sub(at) / 1000;
    match seconds {
        0..45 => "just now".to_owned(),
        45..3600 => format!("{} min ago", seconds.div_ceil(60).min(59)),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        86_400..172_800 => "yesterday".to_owned(),
        172_800..2_592_000 => format!("{} days ago", seconds / 86_400),
        _ => day(at),
    }
}

/// The UTC date of a moment: `22 Nov 2026`.
pub fn day(at: u64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = civil((at / 86_400_000) as i64);
    let name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
    format!("{day} {name} {year}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_two_useful_figures() {
        let said: Vec<String> = [0, 12, 999, 1400, 9960, 14_200, 125_000, 3_780_000].map(duration).to_vec();
        assert_eq!(said, ["0 ms", "12 ms", "999 ms", "1.4 s", "10 s", "14 s", "2 min 5 s", "1 h 3 min"]);
    }

    #[test]
    fn sizes_and_counts_are_short() {
        assert_eq!([812, 3400, 12_000_000].map(bytes).to_vec(), ["812 B", "3.4 KB", "12 MB"]);
        assert_eq!(
            [9_949, 9_950, 999_600, 5_550_000_000].map(bytes).to_vec(),
            ["9.9 KB", "10 KB", "1000 KB", "5.6 GB"]
        );
        assert_eq!([8_000, 124_000, 400, 1_204_999].map(money).to_vec(), ["0.8 ¢", "12.4 ¢", "0 ¢", "$1.20"]);
        assert_eq!([950, 12_400, 2_000, 1_200_000].map(compact).to_vec(), ["950", "12.4k", "2k", "1.2M"]);
    }

    #[test]
    fn moments_are_told_from_now_and_dates_are_right() {
        assert_eq!(day(0), "1 Jan 1970");
        assert_eq!(day(1_709_164_800_000), "29 Feb 2024");
        assert_eq!(day(1_795_392_000_000), "23 Nov 2026");
        let now = 1_795_392_000_000;
        assert_eq!(ago(now - 10_000, now), "just now");
        assert_eq!(ago(now - 300_000, now), "5 min ago");
        assert_eq!(ago(now - 100_000_000, now), "yesterday");
    }
}
