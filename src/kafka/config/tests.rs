//! Tests of the settings.

use super::*;
use crate::kafka::Compression;
use crate::options::KafkaOptions;

fn opts(list: &[(&str, &str)]) -> Vec<(String, Secret)> {
    let opt = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new(*value));
    list.iter().map(opt).collect()
}

fn config(list: &[(&str, &str)], pace: Pace) -> ProducerConfig {
    let options = KafkaOptions {
        compression: Compression::Zstd,
        opts: opts(list),
    };
    let brokers = ["a:1".to_owned(), "b:2".to_owned()];
    ProducerConfig::for_events(&brokers, None, &options, pace)
}

#[test]
fn options_that_break_a_guarantee_or_are_wrong_are_refused_and_name_the_key_alone() {
    for (key, value) in [
        ("enable.idempotence", "false"),
        ("enable.gapless.guarantee", "false"),
        ("acks", "1"),
        ("request.required.acks", "0"),
        ("message.timeout.ms", "5000"),
        ("delivery.timeout.ms", "5000"),
        ("retries", "1"),
        ("transactional.id", "t"),
        ("queuing.strategy", "lifo"),
        ("queue.buffering.backpressure.threshold", "10"),
        ("delivery.report.only.error", "true"),
        ("bootstrap.servers", "evil:9092"),
        ("metadata.broker.list", "evil:9092"),
        ("partitioner", "random"),
        ("plugin.library.paths", "/tmp/x.so"),
        ("test.mock.num.brokers", "3"),
        ("group.id", "g"),
        ("group.instance.id", "i"),
        ("group.protocol", "consumer"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("enable.auto.commit", "true"),
        ("enable.auto.offset.store", "true"),
        ("auto.offset.reset", "latest"),
        ("allow.auto.create.topics", "true"),
    ] {
        let error = check_options(&opts(&[(key, value)])).unwrap_err();
        assert!(matches!(&error, OptionError::Refused { .. }), "{error}");
        assert_eq!(error.key(), key);
    }
    let unknown = check_options(&opts(&[("lingering.ms", "hunter2")])).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "librdkafka knows no option lingering.ms"
    );
    for (key, value) in [
        ("linger.ms", "hunter2"),
        ("linger.ms", "-1"),
        ("compression.type", "hunter2"),
        ("client.id", "a\0b"),
        ("partitioner", "hunter2"),
    ] {
        let error = check_options(&opts(&[(key, value)])).unwrap_err();
        assert_eq!(error, OptionError::Value { key: key.into() });
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[test]
fn options_that_help_are_taken() {
    check_options(&opts(&[
        ("linger.ms", "20"),
        ("compression.codec", "lz4"),
        ("partitioner", "murmur2_random"),
        ("message.max.bytes", "2000000"),
        ("client.id", "other"),
        ("debug", "broker,topic"),
        ("broker.address.family", "v4"),
    ]))
    .unwrap();
}

#[cfg(not(feature = "kafka-tls"))]
#[test]
fn without_tls_the_error_says_which_build_has_it() {
    let error = check_options(&opts(&[("security.protocol", "ssl")])).unwrap_err();
    assert!(error.to_string().contains("kafka-tls"), "{error}");
}

#[cfg(feature = "kafka-tls")]
#[test]
fn with_tls_its_options_are_taken() {
    let all = [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "u"),
        ("sasl.password", "p"),
    ];
    check_options(&opts(&all)).unwrap();
}

#[test]
fn what_the_operator_says_wins_under_any_of_its_names() {
    let said = [
        ("linger.ms", "77"),
        ("compression.type", "lz4"),
        ("queue.buffering.max.kbytes", "123"),
    ];
    let batches = config(&said, Pace::Batches { bytes: 1000 });
    let native = batches
        .client_config()
        .unwrap()
        .create_native_config()
        .unwrap();
    for (key, value) in [
        ("linger.ms", "77"),
        ("compression.codec", "lz4"),
        ("queue.buffering.max.kbytes", "123"),
        ("queue.buffering.max.messages", "4096"),
        ("bootstrap.servers", "a:1,b:2"),
        ("enable.idempotence", "true"),
        ("enable.gapless.guarantee", "true"),
        ("batch.size", "1000"),
        ("client.id", "cim"),
    ] {
        assert_eq!(native.get(key).unwrap(), value, "{key}");
    }
}

#[test]
fn a_careful_producer_stays_careful_whatever_the_operator_says() {
    let said = [
        ("linger.ms", "77"),
        ("max.in.flight", "5"),
        ("batch.num.messages", "9"),
    ];
    let careful = config(&said, Pace::Careful);
    let native = careful
        .client_config()
        .unwrap()
        .create_native_config()
        .unwrap();
    for (key, value) in [
        ("linger.ms", "0"),
        ("max.in.flight", "1"),
        ("batch.num.messages", "1"),
        ("enable.gapless.guarantee", "false"),
        ("enable.idempotence", "true"),
    ] {
        assert_eq!(native.get(key).unwrap(), value, "{key}");
    }
}

#[test]
fn no_password_is_shown() {
    let mask = Mask::new(&opts(&[
        ("sasl.password", "hunter2"),
        ("ssl.key.password", ""),
        ("linger.ms", "5"),
    ]));
    let text = mask.clean("login with hunter2 failed\n5 times");
    assert_eq!(text, "login with *** failed\\n5 times");
    let long = "é".repeat(limits::KAFKA_TEXT_BYTES);
    assert!(mask.clean(&long).len() <= limits::KAFKA_TEXT_BYTES);
}

fn consumer(list: &[(&str, &str)]) -> ConsumerConfig {
    let options = KafkaOptions {
        compression: Compression::None,
        opts: opts(list),
    };
    ConsumerConfig::new(&["a:1".to_owned()], None, "cnf-0", "ns1", &options)
}

#[test]
fn a_consumer_reads_little_ahead_and_chooses_its_offsets_itself() {
    let config = consumer(&[("session.timeout.ms", "10000"), ("fetch.wait.max.ms", "7")]);
    let native = config.client_config().unwrap();
    let native = native.create_native_config().unwrap();
    for (key, value) in [
        ("bootstrap.servers", "a:1"),
        ("client.id", "cim"),
        ("group.id", "cnf-0"),
        ("group.instance.id", "cnf-0_ns1"),
        ("session.timeout.ms", "10000"),
        ("fetch.wait.max.ms", "7"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("allow.auto.create.topics", "false"),
        ("partition.assignment.strategy", "range,roundrobin"),
        ("queued.max.messages.kbytes", "2097"),
        ("fetch.max.bytes", "1048576"),
        ("max.partition.fetch.bytes", "262144"),
    ] {
        assert_eq!(native.get(key).unwrap(), value, "{key}");
    }
}

#[test]
fn options_that_only_producers_know_disturb_no_consumer_and_the_other_way_round() {
    let both = [
        ("linger.ms", "20"),
        ("batch.size", "2000000"),
        ("compression.codec", "lz4"),
        ("partitioner", "murmur2"),
        ("message.max.bytes", "20000000"),
        ("max.in.flight", "1"),
        ("queue.buffering.max.messages", "100"),
        ("request.timeout.ms", "1000"),
        ("session.timeout.ms", "10000"),
        ("max.poll.interval.ms", "60000"),
        ("fetch.message.max.bytes", "1000"),
        ("isolation.level", "read_uncommitted"),
    ];
    check_options(&opts(&both)).unwrap();
    crate::kafka::Consumer::new(&consumer(&both)).unwrap();
    let producer = config(&both, Pace::Batches { bytes: 1000 });
    crate::kafka::Producer::check(&producer).unwrap();
}
