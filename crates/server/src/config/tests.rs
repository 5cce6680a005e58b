//! Flags, environment and file, and what is refused.

use super::values::parse_duration;
use super::*;

fn parse(arguments: &[&str]) -> Result<ServeConfig, ConfigError> {
    parse_with(arguments, &[])
}

fn parse_with(
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<ServeConfig, ConfigError> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    match Invocation::parse(arguments, environment)? {
        Invocation::Serve(config) => Ok(*config),
        other => panic!("{other:?}"),
    }
}

fn message(arguments: &[&str]) -> String {
    parse(arguments).unwrap_err().to_string()
}

#[test]
fn without_options_it_is_etcds_single_member() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
    assert_eq!(config.listen_client_urls[0].to_string(), "http://localhost:2379");
    assert_eq!(config.listen_peer_url.to_string(), "http://localhost:2380");
    assert_eq!(config.election_timeout, Duration::from_secs(1));
    assert_eq!(config.quota_backend_bytes, Some(2 << 30));
    // The ids that every etcd started without options has.
    assert_eq!(config.initial_cluster.members[0].id, 0x8e9e_05c5_2164_694d);
    assert_eq!(config.initial_cluster.id, 0xcdf8_1819_4e3a_8c32);
    assert_eq!(config.warnings, [] as [String; 0]);
    assert!(config.strict_reconfig_check && !config.existing);
    assert!(!config.readmit_lost_disks && !config.replace_lost_disk);
    assert_eq!(config.max_learners, 1);
    assert_eq!((config.read_lease_drift_ppm, config.election_rank), (None, 0));
}

#[test]
fn flags_are_read_as_go_reads_them() {
    let config = parse(&[
        "--name=a",
        "-data-dir",
        "/d",
        "--pre-vote=false",
        "--initial-cluster",
        "a=http://localhost:2380",
    ])
    .unwrap();
    assert_eq!((config.name.as_str(), config.data_dir), ("a", PathBuf::from("/d")));
    assert!(!config.pre_vote);
    assert_eq!(Invocation::parse(["--version".to_owned()], []), Ok(Invocation::Version));
    assert_eq!(Invocation::parse(["-help".to_owned()], []), Ok(Invocation::Help));
}

#[test]
fn what_etcd_has_not_is_given_in_the_same_ways() {
    let environment = [("ETCD_ELECTION_RANK", "2")];
    let config = parse_with(&["--read-lease-drift-ppm", "500"], &environment).unwrap();
    assert_eq!((config.read_lease_drift_ppm, config.election_rank), (Some(500), 2));
}

#[test]
fn a_flag_goes_before_the_environment() {
    let environment =
        [("ETCD_NAME", "env"), ("ETCD_HEARTBEAT_INTERVAL", "50"), ("ETCD_OTHER", "x")];
    let config = parse_with(&["--name=flag"], &environment).unwrap();
    assert_eq!((config.name.as_str(), config.heartbeat_interval.as_millis()), ("flag", 50));
}

#[test]
fn a_configuration_file_counts_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "name: file\ninitial-cluster: file=http://127.0.0.1:1\nheartbeat-interval: 20\n\
                election-timeout: 500\nclient-transport-security:\n  cert-file: \n  client-cert-auth: false\n\
                strict-reconfig-check: false\nlog-outputs: [stderr]\n";
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    let config =
        parse_with(&["--name=flag", "--config-file", path], &[("ETCD_NAME", "env")]).unwrap();
    assert_eq!((config.name.as_str(), config.election_timeout.as_millis()), ("file", 500));
    assert!(!config.strict_reconfig_check);
    assert!(config.warnings[0].contains("counts alone"), "{:?}", config.warnings);

    for (text, expected) in [
        ("name: [", "cannot be used"),
        ("- name", "it must be a map"),
        ("nmae: x", "there is no option `nmae`; did you mean `name`?"),
        ("zzzzzzzz: x", "those that `serve --help` lists"),
        ("client-transport-security: {cert-fle: c}", "`cert-fle`; did you mean `cert-file`?"),
        ("client-transport-security: x", "client-transport-security must be a map"),
        ("election-timeout: soon", "--election-timeout cannot be `soon`"),
        ("client-transport-security: {cert-file: c}", "--cert-file cannot be heeded"),
        ("peer-transport-security: {client-cert-auth: true}", "--peer-client-cert-auth"),
    ] {
        std::fs::write(file.path(), text).unwrap();
        let message = message(&["--config-file", path]);
        assert!(message.contains(expected), "{text}: {message}");
        assert!(message.contains(path), "{text}: {message}");
    }
    assert!(message(&["--config-file", "/no/such/file"]).contains("/no/such/file"));
}

#[test]
fn unknown_options_are_named_with_what_may_have_been_meant() {
    assert_eq!(
        message(&["--listen-client-url", "x"]),
        "there is no option --listen-client-url; did you mean --listen-client-urls?"
    );
    assert!(message(&["--zzzzzzzzzzzz"]).contains("serve --help"));
    assert_eq!(message(&["serve"]), "`serve` is not an option: options begin with --");
    assert_eq!(message(&["--name"]), "--name needs a value");
}

#[test]
fn what_cannot_be_heeded_is_refused_where_that_matters() {
    for flag in [
        "--cert-file=c",
        "--client-cert-auth",
        "--auth-token=jwt",
        "--force-new-cluster",
        "--discovery=d",
    ] {
        assert!(matches!(parse(&[flag]), Err(ConfigError::NotSupported { .. })), "{flag}");
    }
    let config =
        parse(&["--auth-token=simple", "--client-cert-auth=false", "--proxy=off"]).unwrap();
    assert!(config.warnings.is_empty());
    let config =
        parse(&["--backend-batch-limit=5", "--experimental-corrupt-check-time=1m"]).unwrap();
    assert_eq!(config.warnings.len(), 2);
}

#[test]
fn contradictions_and_bad_values_name_the_remedy() {
    for (arguments, expected) in [
        (&["--name=a", "--initial-cluster=b=http://h:1"][..], "does not name this member"),
        (
            &["--initial-cluster=default=http://h:1", "--initial-advertise-peer-urls=http://h:2"],
            "make them the same",
        ),
        (&["--initial-cluster=default=http://h:1,b=http://h:1"], "twice"),
        (&["--initial-cluster=http://h:1"], "name=http://host:port"),
        (&["--listen-client-urls=https://h:1"], "TLS is not supported yet"),
        (&["--listen-client-urls=h:1"], "http://host:port"),
        (&["--listen-client-urls=http://h"], "the port is missing"),
        (&["--listen-client-urls=http://h:99999"], "up to 65535"),
        (&["--listen-peer-urls=http://h:1,http://h:2"], "one URL"),
        (&["--election-timeout=400"], "at least 5 times"),
        (&["--election-timeout=x"], "a number of milliseconds"),
        (&["--election-timeout=60000"], "50000"),
        (&["--initial-cluster-state=old"], "`new` or `existing`"),
        (&["--log-level=loud"], "debug, info"),
        (&["--pre-vote=perhaps"], "true or false"),
        (&["--max-learners=-1"], "a number of members"),
        (&["--read-lease-drift-ppm=0"], "from 1 to 100000"),
        (&["--read-lease-drift-ppm=100001"], "from 1 to 100000"),
        (&["--read-lease-drift-ppm=some"], "leave it out to do without leases"),
        (&["--election-rank=16"], "from 0 (seeks election first) to 15"),
        (&["--election-rank=-1"], "from 0 (seeks election first) to 15"),
        (&["--watch-progress-notify-interval=5"], "a duration"),
        (&["--max-request-bytes=9999999"], "2 MiB"),
    ] {
        let message = message(arguments);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

#[test]
fn durations_are_gos() {
    for (text, expected) in [
        ("500ms", Some(Duration::from_millis(500))),
        ("1h30m", Some(Duration::from_secs(5400))),
        ("1.5s", Some(Duration::from_millis(1500))),
        ("0", Some(Duration::ZERO)),
        ("", None),
        ("5", None),
        ("s", None),
        ("5 s", None),
    ] {
        assert_eq!(parse_duration(text), expected, "{text}");
    }
}

#[test]
fn ids_follow_from_urls_and_token_alone() {
    let cluster = |text, token| InitialCluster::parse(text, token).unwrap();
    let first = cluster("a=http://h:1,b=http://h:2,c=http://h:3", "t");
    let other_order = cluster("c=http://h:3,a=http://h:1,b=http://h:2", "t");
    assert_eq!(first, other_order);
    assert_eq!(first.members.len(), 3);
    let other_token = cluster("a=http://h:1,b=http://h:2,c=http://h:3", "u");
    assert_ne!(first.id, other_token.id);
    assert_ne!(first.member("a").unwrap().id, other_token.member("a").unwrap().id);
}
