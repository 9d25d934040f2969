//! Numbers as people read them. Pure.

use std::time::Duration;

use trunkline_platform::quota::Rate;

const MICRO: i64 = 1_000_000;

/// A count with thousands separated, such as `12,480`.
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An amount, to the last micro-unit, such as `$0.0025`: prices.
pub fn price(micro: i64, currency: &str) -> String {
    let fraction = format!("{:06}", (micro % MICRO).unsigned_abs());
    let shown = fraction.trim_end_matches('0').len().max(2);
    format!("{}{}.{}", symbol(currency), count(micro / MICRO), &fraction[..shown])
}

/// An amount, to the cent from one on, else to the last micro-unit: sums.
pub fn cost(micro: i64, currency: &str) -> String {
    const CENT: i64 = MICRO / 100;
    let rounded = if micro >= MICRO { (micro + CENT / 2) / CENT * CENT } else { micro };
    price(rounded, currency)
}

/// An amount, or a dash for nothing: cells of tables.
pub fn cost_or_none(micro: i64, currency: &str) -> String {
    if micro == 0 { "–".to_owned() } else { cost(micro, currency) }
}

/// An amount as a form takes it, such as `0.0025`.
pub fn price_input(micro: i64) -> String {
    let text = format!("{}.{:06}", micro / MICRO, micro % MICRO);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn symbol(currency: &str) -> String {
    match currency {
        "USD" => "$".to_owned(),
        "EUR" => "€".to_owned(),
        "GBP" => "£".to_owned(),
        "JPY" => "¥".to_owned(),
        "INR" => "₹".to_owned(),
        other => format!("{other}\u{a0}"),
    }
}

/// A latency in milliseconds as number and unit.
pub fn latency(ms: f64) -> (String, &'static str) {
    match ms {
        ms if ms < 0.995 => (format!("{ms:.2}"), "ms"),
        ms if ms < 9.95 => (format!("{ms:.1}"), "ms"),
        ms if ms < 999.5 => (format!("{ms:.0}"), "ms"),
        ms if ms < 9_995.0 => (format!("{:.2}", ms / 1000.0), "s"),
        ms => (format!("{:.1}", ms / 1000.0), "s"),
    }
}

/// A latency in words, or a dash.
pub fn millis(ms: Option<f64>) -> String {
    ms.map(latency).map_or_else(|| "–".to_owned(), |(value, unit)| format!("{value}\u{a0}{unit}"))
}

/// A latency in microseconds, in words.
#[expect(clippy::cast_precision_loss, reason = "microseconds of one call")]
pub fn micros(us: i64) -> String {
    millis(Some(us as f64 / 1000.0))
}

/// A measured time, in words.
pub fn duration(took: Duration) -> String {
    millis(Some(took.as_secs_f64() * 1000.0))
}

/// A time that passes, in whole minutes or hours, such as `2 minutes`.
pub fn minutes(time: Duration) -> String {
    let (count, unit) = match time.as_secs() / 60 {
        minutes @ 0..120 => (minutes, "minute"),
        minutes => (minutes / 60, "hour"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A part of a whole, 0 to 1, in percent without its sign. What is not nothing is never shown as nothing.
pub fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    match percent {
        p if p <= 0.0 => "0".to_owned(),
        p if p < 0.01 => "<0.01".to_owned(),
        p if p < 0.995 => format!("{p:.2}"),
        p if p < 9.95 => format!("{p:.1}"),
        p if p < 99.5 => format!("{p:.0}"),
        p if p < 100.0 => format!("{:.1}", p.min(99.9)),
        _ => "100".to_owned(),
    }
}

/// A size, such as `1.2 KiB`, as number and unit.
#[expect(clippy::cast_precision_loss, reason = "sizes of one call")]
pub fn size(bytes: i64) -> (String, &'static str) {
    const KIB: f64 = 1024.0;
    match bytes as f64 {
        b if b < KIB => (bytes.to_string(), "B"),
        b if b < KIB * KIB => (format!("{:.1}", b / KIB), "KiB"),
        b => (format!("{:.1}", b / (KIB * KIB)), "MiB"),
    }
}

/// A rate in words, such as `300 a minute, 50 at once`.
pub fn rate(rate: Rate) -> String {
    let per_minute = count(rate.per_minute.into());
    if rate.burst == rate.per_minute {
        format!("{per_minute} a minute")
    } else {
        format!("{per_minute} a minute, {} at once", count(rate.burst.into()))
    }
}

/// The beginning of a text, at most that many bytes long; and whether anything is missing.
pub fn beginning(text: &str, longest: usize) -> (&str, bool) {
    if text.len() <= longest {
        return (text, false);
    }
    (&text[..text.floor_char_boundary(longest)], true)
}

/// The device in what a browser says it is, such as "Mac".
pub fn device(user_agent: &str) -> String {
    // Phones say more than one.
    let known = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("CrOS", "Chromebook"),
        ("Macintosh", "Mac"),
        ("Windows", "Windows"),
        ("Linux", "Linux"),
    ];
    known.iter().find(|(word, _)| user_agent.contains(word)).map_or("This device", |(_, name)| name).to_owned()
}

/// Browser and device in what a browser says it is, such as "Firefox on Mac".
pub fn browser(user_agent: &str) -> String {
    // Each names those it wants to be taken for as well; the rarest word tells.
    let known = [("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari")];
    match known.iter().find(|(word, _)| user_agent.contains(word)) {
        Some((_, name)) => format!("{name} on {}", device(user_agent)),
        None if user_agent.is_empty() => "Unknown browser".to_owned(),
        None => beginning(user_agent, 40).0.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_separated() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678"), (-1234, "-1,234")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn prices_are_exact_and_sums_are_short() {
        for (micro, exact, short) in [
            (0, "$0.00", "$0.00"),
            (1, "$0.000001", "$0.000001"),
            (2_500, "$0.0025", "$0.0025"),
            (500_000, "$0.50", "$0.50"),
            (1_234_567, "$1.234567", "$1.23"),
            (1_999_999, "$1.999999", "$2.00"),
            (1_234_567_890_000, "$1,234,567.89", "$1,234,567.89"),
        ] {
            assert_eq!((price(micro, "USD").as_str(), cost(micro, "USD").as_str()), (exact, short));
        }
        assert_eq!(price(1_500_000, "CHF"), "CHF\u{a0}1.50");
        assert_eq!(cost_or_none(0, "EUR"), "–");
    }

    #[test]
    fn price_goes_into_a_form_and_back() {
        for (micro, text) in [(0, "0"), (1, "0.000001"), (500_000, "0.5"), (12_000_000, "12"), (100_000_000, "100")] {
            assert_eq!(price_input(micro), text);
            assert_eq!(trunkline_platform::catalog::parse_price("price", text).ok(), Some(micro));
        }
    }

    #[test]
    fn latencies_have_about_three_digits() {
        for (us, text) in
            [(0, "0.00 ms"), (420, "0.42 ms"), (999, "1.0 ms"), (3_140, "3.1 ms"), (9_960, "10 ms"), (183_800, "184 ms")]
        {
            assert_eq!(micros(us).replace('\u{a0}', " "), text);
        }
        assert_eq!(latency(999.6), ("1.00".to_owned(), "s"));
        assert_eq!(latency(12_345.0), ("12.3".to_owned(), "s"));
        assert_eq!(millis(None), "–");
    }

    #[test]
    fn percentages_never_hide_something_or_claim_everything() {
        for (ratio, text) in
            [(0.0, "0"), (0.000_01, "<0.01"), (0.0042, "0.42"), (0.05, "5.0"), (0.5, "50"), (0.9999, "99.9"), (1.0, "100")]
        {
            assert_eq!(percent(ratio), text);
        }
    }

    #[test]
    fn sizes_and_rates_are_in_words() {
        assert_eq!(size(412), ("412".to_owned(), "B"));
        assert_eq!(size(1229), ("1.2".to_owned(), "KiB"));
        assert_eq!(rate(Rate::per_minute(1200)), "1,200 a minute");
        assert_eq!(rate(Rate { per_minute: 60, burst: 5 }), "60 a minute, 5 at once");
    }

    #[test]
    fn browsers_are_told_by_their_rarest_word() {
        let edge = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36 Edg/141.0";
        let safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1 Version/26.0 Mobile Safari/604.1";
        assert_eq!(browser(edge), "Edge on Windows");
        assert_eq!(browser(safari), "Safari on iPhone");
        assert_eq!(browser("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"), "Firefox on Linux");
        assert_eq!((browser(""), browser("curl/8.9")), ("Unknown browser".to_owned(), "curl/8.9".to_owned()));
    }

    #[test]
    fn cut_falls_between_characters() {
        assert_eq!(beginning("héllo", 2), ("h", true));
        assert_eq!(beginning("hello", 5), ("hello", false));
    }
}
