//! Tables of what is taken and what is refused, each line of them with the parser of Prometheus that does so.

use super::*;
use crate::metrics::Metrics;
use crate::metrics::aligned::{Snapshot, render};

/// The text that is handed out for `text`, without the stamps, HELP and the families that are always there.
fn told(format: Format, text: &str) -> Result<String, ParseError> {
    let families = parse(text.as_bytes(), format, &ParseLimits::default())?;
    let mut snapshot = Snapshot::new(60_000);
    snapshot.add(9, families).unwrap();
    let text = String::from_utf8(render(&[snapshot])).unwrap();
    let mut out = String::new();
    let ours = [
        "# HELP",
        "# TYPE clock_",
        "clock_",
        "# TYPE metric_",
        "metric_",
    ];
    for line in text
        .lines()
        .filter(|line| ours.iter().all(|ours| !line.starts_with(ours)))
    {
        let line = line
            .replace("{aligned_ts=\"60\",source_port=\"9\"}", "")
            .replace("aligned_ts=\"60\",", "")
            .replace(",source_port=\"9\"", "")
            .replace("source_port=\"9\",", "");
        out.push_str(line.strip_suffix(" 60000").unwrap_or(&line));
        out.push('\n');
    }
    Ok(out)
}

/// `text` is taken, and gives these lines.
#[track_caller]
fn check(text: &str, lines: &[&str]) {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(told(Format::Text, text).as_deref(), Ok(&*lines), "{text:?}");
}

/// `text` is refused.
#[track_caller]
fn check_error(text: &str, error: &str) {
    let told = told(Format::Text, text).map_err(|error| error.to_string());
    assert_eq!(told, Err(error.to_owned()), "{text:?}");
}

fn of(text: &str) -> Vec<Family> {
    parse(text.as_bytes(), Format::Text, &ParseLimits::default()).unwrap()
}

#[test]
fn samples_are_taken_as_leniently_as_prometheus_takes_them() {
    let a = "# TYPE a untyped";
    for (text, line) in [
        ("a 1", "a 1"),
        ("a 1\n", "a 1"),
        ("\n \n\t\n  a \t 1  \n\n", "a 1"),
        ("a{} 1", "a 1"),
        ("a { } 1", "a 1"),
        ("a{b=\"c\"}1", "a{b=\"c\"} 1"),
        ("a-1", "a -1"),
        ("a{ b = \"c\" , } 1", "a{b=\"c\"} 1"),
        (
            "a\t{b\t=\t\"c\"\t}\t1\t-2\t",
            "a{aligned_ts=\"-1\",b=\"c\"} 1 -2",
        ),
        ("a{b=\"c\" d=\"e\"} 1", "a{b=\"c\",d=\"e\"} 1"),
        ("a{d=\"e\",b=\"c\"} 1", "a{b=\"c\",d=\"e\"} 1"),
        (
            "a{z=\"1\",quantile=\"2\",le=\"3\"} 1",
            "a{z=\"1\",le=\"3\",quantile=\"2\"} 1",
        ),
        ("a{b=\"\"} 1", "a{b=\"\"} 1"),
        (
            "a{b=\"\\\\ \\n \\\" \\q \\\"} 5\"} 1",
            "a{b=\"\\\\ \\n \\\" \\\\q \\\"} 5\"} 1",
        ),
        (
            "a{b=\"{,}=# \t\r\0é\u{1f600}\"} 1",
            "a{b=\"{,}=# \t\r\0é\u{1f600}\"} 1",
        ),
        (
            "a{source_port=\"x\",aligned_ts=\"y\",b=\"c\"} 1",
            "a{b=\"c\"} 1",
        ),
        (
            "a 1 1767225600123",
            "a{aligned_ts=\"1767225600\"} 1 1767225600123",
        ),
        ("a 1 0", "a{aligned_ts=\"0\"} 1 0"),
        ("a 1 # {trace=\"x\"} 0.5 1", "a 1"),
        ("{\"a\"} 1", "a 1"),
        ("{\"a\",b=\"c\"} 1", "a{b=\"c\"} 1"),
        ("{ b=\"c\" , \"a\" } 1", "a{b=\"c\"} 1"),
        ("\"a\"{b=\"c\"} 1", "a{b=\"c\"} 1"),
    ] {
        check(text, &[a, line]);
    }
}

#[test]
fn values_are_what_go_takes_for_a_number() {
    let values = "1 +1 -1 08 .5 5. 0.25 1e5 1E+5 1.5e-300 -0 123456789012345678901234567890";
    for value in values.split(' ') {
        check(
            &format!("a {value}"),
            &["# TYPE a untyped", &format!("a {value}")],
        );
    }
    for (value, told) in [
        ("nan", "NaN"),
        ("NAN", "NaN"),
        ("inf", "+Inf"),
        ("+INF", "+Inf"),
        ("infinity", "+Inf"),
        ("-Infinity", "-Inf"),
        ("-inf", "-Inf"),
        ("1e-999", "1e-999"),
        (
            "0.1000000000000000055511151231257827021181583404541015625",
            "1e-1",
        ),
    ] {
        check(
            &format!("a {value}"),
            &["# TYPE a untyped", &format!("a {told}")],
        );
    }
    for bad in "1_000 0x1p3 0x10 1e999 -1e999 +nan -NaN . e5 1e in nano 1{ 1,5 true ١".split(' ') {
        let error = format!("line 1: a number was expected, and it goes on with \"{bad}\"");
        check_error(&format!("a {bad}"), &error);
    }
}

#[test]
fn what_no_parser_of_prometheus_takes_is_refused_with_its_line() {
    let (metric, label, value) = (
        "the name of a metric",
        "the name of a label",
        "\" and the label's value",
    );
    let (equals, end, string) = (
        "= behind the label's name",
        "the end of the line",
        "a string that ends in \"",
    );
    let (braces, kind) = (
        "the name of the metric in the braces",
        "the type of a metric",
    );
    for (text, line, expected, found) in [
        ("a", 1, "a number", ""),
        ("a 1\nb\n", 2, "a number", ""),
        ("a 1\r\n", 1, "a number", "1\\r"),
        ("a 1\n\r\n", 2, metric, "\\r"),
        ("\u{feff}a 1", 1, metric, "\\u{feff}a 1"),
        ("9a 1", 1, metric, "9a 1"),
        ("é 1", 1, metric, "é 1"),
        ("a 1 x", 1, "a timestamp", "x"),
        ("a 1 1.5", 1, "a timestamp", "1.5"),
        (
            "a 1 9999999999999999999",
            1,
            "a timestamp",
            "9999999999999999999",
        ),
        ("a 1 2 3", 1, end, "3"),
        ("a 1 # x", 1, end, "# x"),
        ("a{b=\"c\" 1", 1, label, "1"),
        ("a{b=\"c", 1, string, "c"),
        ("\na{b=\"c\n\"} 1", 2, string, "c"),
        ("a{b=\"c\\", 1, string, "c\\\\"),
        ("a{b='c'} 1", 1, value, "'c'} 1"),
        ("a{b} 1", 1, equals, "} 1"),
        ("a{=\"c\"} 1", 1, label, "=\"c\"} 1"),
        ("a{,} 1", 1, label, ",} 1"),
        ("a{b=\"c\",,} 1", 1, label, ",} 1"),
        ("a{b:c=\"d\"} 1", 1, equals, ":c=\"d\"} 1"),
        ("{} 1", 1, braces, " 1"),
        ("{b=\"c\"} 1", 1, braces, " 1"),
        ("{\"\"} 1", 1, "a name in the quotes", "} 1"),
        ("{\"a\",\"b\"} 1", 1, equals, "} 1"),
        ("a{\"b\"} 1", 1, equals, "} 1"),
        ("\n\n# TYPE a foo", 3, kind, "foo"),
        ("# TYPE a counter\r\n", 1, kind, "counter\\r"),
        ("# HELP 9 x", 1, metric, "9 x"),
        ("# HELP a-b x", 1, "a space behind the name", "-b x"),
        ("# TYPE \"a counter", 1, string, "a counter"),
    ] {
        let error =
            format!("line {line}: {expected} was expected, and it goes on with \"{found}\"");
        check_error(text, &error);
    }
    for (text, error) in [
        (
            "a{b=\"c\",d=\"\",b=\"d\"} 1",
            "it has the label \"b\" twice",
        ),
        (
            "a{\"b.c\"=\"1\",\"b-c\"=\"2\"} 1",
            "it has the label \"b_c\" twice",
        ),
        ("a{__name__=\"b\"} 1", "the label __name__ is reserved"),
    ] {
        check_error(text, &format!("line 1: {error}"));
    }
    for text in [
        &b"a{b=\"\xff\"} 1"[..],
        b"a\xff 1",
        b"# HELP a \xff\na 1",
        b"a 1 \xc3",
    ] {
        let error = parse(text, Format::Text, &ParseLimits::default()).unwrap_err();
        assert_eq!(error.to_string(), "line 1: it is not UTF-8");
    }
}

#[test]
fn comments_may_say_anything_in_any_encoding() {
    let text = b"#\n# \n#HELP a x\n#TYPE 9 foo\n# EOF\n# HELP\n# HELP  \n# TYPE\t\n# TYPE a\n# TYPES 9 x\n# \xff\xfe\n\t # x\na 1\n# UNIT a b";
    let families = parse(text, Format::Text, &ParseLimits::default()).unwrap();
    assert_eq!(families.len(), 1);
    assert_eq!(
        (families[0].help(), families[0].kind()),
        ("", Kind::Untyped)
    );
}

#[test]
fn help_and_type_may_come_in_any_order_and_several_times() {
    for text in [
        "# HELP a one\n# TYPE a counter\na 1\n",
        "# TYPE a counter\n# HELP a one\na 1\n",
        "a 1\n# TYPE a counter\n# HELP a one\n",
        "# HELP a one\n# HELP a two\n# TYPE a counter\n# TYPE a counter\na 1",
        "\t#\tHELP\ta\tone\n # TYPE a  COUNTER \na 1",
        "# HELP \"a\" one\n# TYPE \"a\" Counter\n{\"a\"} 1\n# HELP a\n# TYPE a\n",
    ] {
        let families = of(text);
        assert_eq!(families.len(), 1, "{text:?}");
        assert_eq!(
            (families[0].help(), families[0].kind()),
            ("one", Kind::Counter),
            "{text:?}"
        );
    }
    assert_eq!(
        of("# TYPE a gauge\n# TYPE a counter\n# TYPE a gauge\na 1")[0].kind(),
        Kind::Untyped
    );
    assert_eq!(of("# TYPE a counter\n# HELP b x\n"), []);
    let help = "# HELP a two-line\\n doc  str\\\\ing \\\" \\x \r\na 1";
    assert_eq!(of(help)[0].help(), "two-line\n doc  str\\ing \\\" \\x \r");
}

#[test]
fn samples_of_histograms_and_summaries_stay_with_their_family() {
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\
         # TYPE g gauge\ng_count 1\n\
         # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 3\ns_bucket 4\n\
         h_bucket{le=\"1\",x=\"1\"} 5\nu_sum 1\n",
        &[
            "# TYPE g_count untyped",
            "g_count 1",
            "# TYPE h histogram",
            "h_bucket{le=\"1\"} 1",
            "h_bucket{le=\"+Inf\"} 2",
            "h_sum 3",
            "h_count 2",
            "h_bucket{x=\"1\",le=\"1\"} 5",
            "# TYPE s summary",
            "s{quantile=\"0.5\"} 1",
            "s_sum 2",
            "s_count 3",
            // Of its own, and `expfmt` could take its TYPE for one of s.
            "s_bucket 4",
            "# TYPE u_sum untyped",
            "u_sum 1",
        ]
        .map(|line| line.replace("# TYPE s summary", "# TYPE s untyped"))
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>(),
    );
}

#[test]
fn a_series_that_is_there_twice_is_told_once_unless_its_timestamps_differ() {
    check(
        "a 1\na 2\na{} 3\na{source_port=\"1\"} 4\na 5 1000\na 6 1000\na 7 2000\n\
         a{x=\"1\",y=\"2\"} 8\na{y=\"2\",x=\"1\"} 9\n",
        &[
            "# TYPE a untyped",
            "a 1",
            "a{aligned_ts=\"1\"} 5 1000",
            "a{aligned_ts=\"2\"} 7 2000",
            "a{x=\"1\",y=\"2\"} 8",
        ],
    );
}

#[test]
fn names_that_the_text_format_does_not_have_get_underscores() {
    check(
        "# TYPE \"my.metric é\" counter\n{\"my.metric é\",\"l.1\"=\"x\",\"1:\"=\"y\"} 1\n{\"a\\\"b\\\\c\\nd:e\"} 2\n{\"9x\"} 3\n",
        &[
            "# TYPE _x untyped",
            "_x 3",
            "# TYPE a_b_c_d:e untyped",
            "a_b_c_d:e 2",
            "# TYPE my_metric__ counter",
            "my_metric__{__=\"y\",l_1=\"x\"} 1",
        ],
    );
}

#[test]
fn open_metrics_becomes_the_text_format() {
    let text = "# HELP c requests \\\"x\\\"\n# TYPE c counter\n# UNIT c seconds\n\
                c_total{code=\"200\"} 5 1767225600.1235 # {trace_id=\"x\"} 1 1.5\nc_created 1.5e9\n\
                # TYPE i info\ni_info{v=\"1\"} 1\n# TYPE st stateset\nst{st=\"a\"} 1\n# TYPE u unknown\nu 1\n\
                # TYPE gh gaugehistogram\ngh_bucket{le=\"+Inf\"} 2 # {} 1\ngh_gcount 2\ngh_gsum 3\n\
                # TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_created 3\n# EOF";
    let lines = "# TYPE c_created gauge\nc_created 1.5e9\n\
                 # TYPE c_total counter\nc_total{aligned_ts=\"1767225600\",code=\"200\"} 5 1767225600124\n\
                 # TYPE gh histogram\ngh_bucket{le=\"+Inf\"} 2\n\
                 # TYPE gh_gcount gauge\ngh_gcount 2\n# TYPE gh_gsum gauge\ngh_gsum 3\n\
                 # TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_count 2\n# TYPE h_created gauge\nh_created 3\n\
                 # TYPE i_info gauge\ni_info{v=\"1\"} 1\n# TYPE st gauge\nst{st=\"a\"} 1\n# TYPE u untyped\nu 1\n";
    assert_eq!(told(Format::OpenMetrics, text).as_deref(), Ok(lines));
    let families = parse(
        text.as_bytes(),
        Format::OpenMetrics,
        &ParseLimits::default(),
    )
    .unwrap();
    assert_eq!(
        (families[0].name(), families[0].help()),
        ("c_total", "requests \"x\"")
    );
    let ended = format!("{text}\n\n");
    assert_eq!(told(Format::OpenMetrics, &ended).as_deref(), Ok(lines));
    for (text, error) in [
        ("a 1\n", "line 1: the text ends without # EOF"),
        ("", "line 1: the text ends without # EOF"),
        ("a 1\n# EOF\na 2\n", "line 3: the text goes on after # EOF"),
        (
            "a 1\n# EOF\n# EOF\n",
            "line 3: the text goes on after # EOF",
        ),
        (
            "a 1 nan\n# EOF",
            "line 1: a timestamp was expected, and it goes on with \"nan\"",
        ),
        (
            "a 1 1e300\n# EOF",
            "line 1: a timestamp was expected, and it goes on with \"1e300\"",
        ),
    ] {
        let error_is = told(Format::OpenMetrics, text).map_err(|error| error.to_string());
        assert_eq!(error_is, Err(error.to_owned()), "{text:?}");
    }
}

#[test]
fn the_content_type_tells_the_format() {
    for (value, format) in [
        (None, Format::Text),
        (Some(""), Format::Text),
        (Some("text/plain; version=0.0.4"), Format::Text),
        (Some("application/json"), Format::Text),
        (Some("application/openmetrics-text"), Format::OpenMetrics),
        (
            Some("Application/OpenMetrics-Text ; version=1.0.0; charset=utf-8"),
            Format::OpenMetrics,
        ),
        (Some("application/openmetrics-text2"), Format::Text),
    ] {
        assert_eq!(Format::of(value), format, "{value:?}");
    }
}

#[test]
fn every_bound_holds() {
    let limits = ParseLimits {
        bytes: 1 << 20,
        series: 3,
        families: 2,
    };
    let error = |text: &str| parse(text.as_bytes(), Format::Text, &limits).unwrap_err();
    let long = "x".repeat(limits::EXPOSITION_NAME_BYTES);
    let labels = |count: usize| -> String { (0..count).map(|n| format!("l{n}=\"\",")).collect() };
    assert!(
        parse(
            format!("{long}{{{long}=\"\"}} 1").as_bytes(),
            Format::Text,
            &limits
        )
        .is_ok()
    );
    let many = labels(limits::EXPOSITION_LABELS);
    assert!(
        parse(
            format!("a{{{many}source_port=\"\"}} 1").as_bytes(),
            Format::Text,
            &limits
        )
        .is_ok()
    );
    assert!(parse(b"a 1\na 1\na{b=\"\"} 1\nc 1", Format::Text, &limits).is_ok());
    for (text, problem) in [
        (
            "a 1\n".repeat(1 << 18) + "\n",
            Problem::TextTooLong { limit: 1 << 20 },
        ),
        (
            " ".repeat(64 << 10) + "\n\n ",
            Problem::LineTooLong { limit: 64 << 10 },
        ),
        (
            format!("{long}x 1"),
            Problem::NameTooLong {
                snippet: "x".repeat(32),
                limit: 1024,
            },
        ),
        (
            format!("# TYPE \"{long}x\" x"),
            Problem::NameTooLong {
                snippet: "x".repeat(32),
                limit: 1024,
            },
        ),
        (
            format!("a{{{}}} 1", labels(65)),
            Problem::Labels { limit: 64 },
        ),
        (
            "a 1\na 2 2\na 3 3\na 4 4".into(),
            Problem::Series { limit: 3 },
        ),
        (
            "# TYPE a gauge\n# HELP b x\n# HELP c x".into(),
            Problem::Families { limit: 2 },
        ),
        (
            "a 1\n# TYPE b gauge\nc 1\n".into(),
            Problem::Families { limit: 2 },
        ),
    ] {
        // One byte more than is shown here is what makes the second one too long.
        let text = text.replace("\n\n ", " ");
        assert_eq!(error(&text).problem, problem, "{:.60}", text);
    }
}

#[test]
fn an_error_shows_a_bounded_piece_without_control_characters() {
    let text = format!("a \x1b[31m\0{}", "\u{1f600}".repeat(100));
    let error = parse(text.as_bytes(), Format::Text, &ParseLimits::default()).unwrap_err();
    let shown = error.to_string();
    assert!(
        !shown.contains(char::is_control) && shown.len() < 128,
        "{shown:?}"
    );
    assert!(shown.contains("\\u{1b}[31m\\0"), "{shown}");
}

#[test]
fn the_own_metrics_of_cim_and_of_the_original_are_taken_whole() {
    let own = Metrics::new("cnf-0").unwrap().render().unwrap();
    let golden = include_bytes!("../../../../tests/golden/4-metrics/metrics.txt");
    for text in [&own[..], golden] {
        let samples = text.split(|&byte| byte == b'\n');
        let samples = samples
            .filter(|line| !line.is_empty() && line[0] != b'#')
            .count();
        let families = parse(text, Format::Text, &ParseLimits::default()).unwrap();
        assert_eq!(families.iter().map(Family::series).sum::<usize>(), samples);
        let types = text.windows(7).filter(|&word| word == b"# TYPE ").count();
        assert_eq!(families.len(), types);
        assert!(families.iter().all(|family| family.kind() != Kind::Untyped));
    }
}
