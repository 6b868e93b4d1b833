use super::*;

/// A history from lines of `process stage op json`.
fn history(lines: &[&str]) -> Vec<Entry> {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| {
            let parts: Vec<&str> = line.splitn(4, ' ').collect();
            let rest = parts.get(3).map_or(String::new(), |rest| format!(",{rest}"));
            format!(
                r#"{{"process":{},"type":"{}","topic":"t","partition":0,"op":"{}"{rest}}}"#,
                parts[0], parts[1], parts[2]
            )
        })
        .collect();
    read(lines.join("\n").as_bytes()).unwrap()
}

#[track_caller]
fn finds(lines: &[&str], wanted: &str) {
    let found: Vec<String> = check(&history(lines)).into_iter().map(|violation| violation.text).collect();
    assert!(found.len() == 1 && found[0].starts_with(&format!("t-0: {wanted}")), "{found:?}");
}

const SEND_A: &str = r#"1 ok send "value":"a","offset":0"#;
const SEND_B: &str = r#"1 ok send "value":"b","offset":1"#;
const POLL_AB: &str = r#"2 ok poll "records":[[0,"a"],[1,"b"]],"high_watermark":2"#;

#[test]
fn a_clean_history_breaks_nothing_and_survives_a_round_trip() {
    let clean = history(&[
        r#"1 invoke send "value":"a""#,
        SEND_A,
        SEND_B,
        r#"1 info send "value":"c""#,
        r#"3 invoke list_offsets"#,
        r#"3 ok list_offsets "end_exclusive":2"#,
        r#"3 ok leader "node":1,"epoch":4"#,
        POLL_AB,
        r#"2 ok assign"#,
        r#"2 ok poll "records":[[0,"a"],[1,"b"],[2,"c"]],"high_watermark":3,"final":true"#,
    ]);
    assert_eq!(check(&clean), []);
    assert_eq!(read(write(&clean).as_bytes()).unwrap(), clean);
}

#[test]
fn each_rule_finds_its_own_fault() {
    finds(
        &[SEND_A, r#"2 ok poll "records":[[0,"x"]]"#, r#"2 ok assign"#, r#"2 ok poll "records":[[0,"a"]]"#],
        "inconsistent offset",
    );
    finds(
        &[
            r#"1 ok send "value":"a","offset":0,"idempotent":true"#,
            r#"2 ok poll "records":[[0,"a"],[1,"a"]]"#,
        ],
        "duplicate",
    );
    finds(&[SEND_A, SEND_B, r#"2 ok poll "records":[[1,"b"]]"#], "lost write: a");
    finds(
        &[SEND_A, SEND_B, r#"2 ok poll "records":[[0,"a"]],"high_watermark":1,"final":true"#],
        "lost write: b",
    );
    finds(&[r#"1 fail send "value":"a""#, r#"2 ok poll "records":[[0,"a"]]"#], "failed send read");
    finds(&[r#"1 ok leader "node":1,"epoch":4"#, r#"1 ok leader "node":2,"epoch":4"#], "two leaders");
    finds(&[SEND_A, SEND_B, r#"2 ok poll "records":[[1,"b"],[0,"a"]]"#], "nonmonotonic poll");
    finds(
        &[
            SEND_A,
            SEND_B,
            r#"1 ok send "value":"c","offset":2"#,
            r#"2 ok poll "records":[[0,"a"],[2,"c"]]"#,
            r#"3 ok poll "records":[[1,"b"]]"#,
        ],
        "skipped",
    );
    finds(&[SEND_A, POLL_AB, r#"2 ok poll "high_watermark":1"#], "falling high watermark");
    finds(&[SEND_B, SEND_A, POLL_AB], "nonmonotonic send");
    finds(&[SEND_A, r#"3 invoke list_offsets"#, r#"3 ok list_offsets "end_exclusive":0"#], "early end");
}

#[test]
fn a_duplicate_of_a_producer_that_promises_nothing_is_allowed() {
    assert_eq!(check(&history(&[SEND_A, r#"2 ok poll "records":[[0,"a"],[1,"a"]]"#])), []);
}

#[test]
fn a_line_that_is_no_entry_is_named() {
    let error = read("\n{\"process\":1}\n".as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "line 2 of the history is no entry");
}
