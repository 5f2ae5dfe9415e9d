//! `grice serve` as a process: signals, options, configuration, logs.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::Value;
use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{bare, grice, run, tiny_bert};

/// A server on a free port, with what it logs.
struct Serving {
    process: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Serving {
    fn start(command: &mut Command) -> Serving {
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let mut address = None;
        for line in lines.by_ref().map_while(Result::ok) {
            let line_address = line
                .split(|c: char| !(c.is_ascii_digit() || ".:".contains(c)))
                .find_map(|word| word.parse::<SocketAddr>().ok().filter(|address| address.port() > 0));
            address = address.or(line_address);
            *log.lock().unwrap() += &(line.clone() + "\n");
            if line.contains("ready") {
                break;
            }
        }
        let address = address.unwrap_or_else(|| panic!("not ready: {}", log.lock().unwrap()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| *kept.lock().unwrap() += &(line + "\n"));
        });
        Serving { process, address, log }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end: {}", self.logged());
    }

    fn logged(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    #[track_caller]
    fn wait_for(&self, words: &str) {
        let start = Instant::now();
        while !self.logged().contains(words) {
            assert!(start.elapsed() < Duration::from_secs(20), "no `{words}` in {}", self.logged());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn serve(more: &[&str]) -> Command {
    let mut command = grice(["serve", "--listen", "127.0.0.1:0", "--threads", "1"]);
    for name in ["GRICE_API_KEYS", "GRICE_ADMIN_KEY", "GRICE_CONFIG", "GRICE_LOG_FORMAT", "GRICE_LOG"] {
        command.env_remove(name);
    }
    command.args(more);
    command
}

/// One request on a connection of its own, or on the one given. The whole answer; an error if there is none.
fn ask(stream: &mut TcpStream, response: &str, more: &str) -> std::io::Result<String> {
    let body = format!("{{\"response\": \"{response}\"}}");
    let head = format!(
        "POST /v1/detect HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(std::io::Error::other(format!("cut off after {} bytes", answer.len())));
        }
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap();
        if body.len() >= length {
            return Ok(text.into_owned());
        }
    }
}

fn ask_models(address: SocketAddr) -> Value {
    let mut stream = connect(address);
    stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// The answer to a body, as JSON.
fn post(address: SocketAddr, path: &str, body: &str) -> Value {
    let mut stream = connect(address);
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nconnection: close\r\n");
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// A detector and a generator, told apart by their folders; texts are those of `grice generate`.
#[test]
fn folders_of_both_kinds_are_served() {
    let generator = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/generators/gpt2");
    let written = run(bare().arg("--model").arg(&generator).args(["generate", "--prompt", "w7 w8", "--json"]));
    let written: Value = serde_json::from_str(&written.expect(0).out).unwrap();
    let body = r#"{"prompt": "w7 w8"}"#;

    let judge = format!("judge={}", tiny_bert().display());
    let both = ["serve", "--listen", "127.0.0.1:0", "--bundle", &judge, "--bundle", generator.to_str().unwrap()];
    let serving = Serving::start(bare().args(both));
    let mut answer = post(serving.address, "/v1/generate", body);
    assert_eq!(answer.as_object_mut().unwrap().remove("model").unwrap(), "gpt2");
    assert_eq!(answer, written);
    assert_eq!(post(serving.address, "/v1/detect", r#"{"response": "Yes."}"#)["model"], "judge");
    let models = ask_models(serving.address);
    assert_eq!([&models["models"][0]["task"], &models["models"][1]["task"]], ["detect", "generate"]);
    drop(serving);

    let alone = ["serve", "--listen", "127.0.0.1:0", "--memory", "2", "--precision", "int8"];
    let serving = Serving::start(bare().arg("--model").arg(&generator).args(alone));
    assert_eq!(ask_models(serving.address)["models"][0]["precision"], "int8");
    assert!(post(serving.address, "/v1/generate", body)["generated"].is_string());
    assert!(
        post(serving.address, "/v1/detect", r#"{"response": "a"}"#)["detail"]
            .as_str()
            .unwrap()
            .contains("the task `detect`")
    );
}

/// A folder of sentence-transformers embeds, with the numbers of `grice embed`.
#[test]
fn embedders_are_served() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/embedders/bert");
    let text = "I watched the film yesterday.";
    let embedded = run(bare().arg("--model").arg(&folder).args(["embed", text]));
    let embedded: Value = serde_json::from_str(&embedded.expect(0).out).unwrap();
    let serving = Serving::start(bare().arg("--model").arg(&folder).args(["serve", "--listen", "127.0.0.1:0"]));
    let answer = post(serving.address, "/v1/embeddings", &format!("{{\"input\": \"{text}\"}}"));
    let numbers = |value: &Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let (served, own) = (numbers(&answer["data"][0]["embedding"]), numbers(&embedded));
    assert!(served.len() == own.len() && served.len() > 8);
    // Sums have another order where there are more threads.
    assert!(served.iter().zip(&own).all(|(a, b)| (a - b).abs() < 1e-4), "{served:?} {own:?}");
    assert_eq!(ask_models(serving.address)["data"][0]["id"], "bert");
}

/// A text that would take longer than the server may wait breaks off with the reason, and the server ends well.
#[test]
fn sigterm_ends_streams_with_their_reason() {
    let generator = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/generators/t5");
    let options = ["--drain-delay-ms", "0", "--drain-max-ms", "300", "--deadline-ms", "60000"];
    let mut serving =
        Serving::start(bare().arg("--model").arg(&generator).args(["serve", "--listen", "127.0.0.1:0"]).args(options));
    let mut stream = connect(serving.address);
    let body = r#"{"prompt": "w7 w8", "max_tokens": 90000, "min_tokens": 90000, "stream": true}"#;
    let head = "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    let mut first = [0; 512];
    assert!(stream.read(&mut first).unwrap() > 0);
    serving.signal("TERM");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("{\"error\":{\"message\":\"the server is shutting down\""), "{}", &rest[rest.len() - 300..]);
    assert!(!rest.contains("[DONE]"));
    assert_eq!(serving.exit_code(), Some(0), "{}", serving.logged());
}

#[test]
fn sigterm_under_load_loses_no_answer() {
    for keep_alive in [true, false] {
        // The system takes connections on its own until the listener is closed. One that comes between the server's last look and
        // that moment is cut off and was never the server's; a machine that is busy may well stop us there, but not every time.
        let cut_off: Vec<usize> = (0..5).map(|_| end_under_load(keep_alive)).take_while(|&count| count > 0).collect();
        assert!(cut_off.len() < 5, "connections cut off each time: {cut_off:?}");
    }
}

/// Ends a server while clients go on without a pause: it has to end, and to answer all that it took. How many new connections
/// were cut off without a word.
fn end_under_load(keep_alive: bool) -> usize {
    let mut serving = Serving::start(&mut serve(&["--drain-delay-ms", "300"]));
    let (answered, cut_off, is_over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let address = serving.address;
    std::thread::scope(|scope| {
        for client in 0..16 {
            let (answered, cut_off, is_over) = (&answered, &cut_off, &is_over);
            scope.spawn(move || {
                let mut kept: Option<TcpStream> = None;
                for number in 0.. {
                    let is_new = kept.is_none();
                    // A refused connection was never accepted: then the server is gone, and the client goes too.
                    let Some(mut stream) = kept.take().or_else(|| TcpStream::connect(address).ok()) else { break };
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    let answer = match ask(&mut stream, &format!("{client}, {number}."), "") {
                        Ok(answer) => answer,
                        Err(error) if is_new && [ConnectionReset, BrokenPipe].contains(&error.kind()) => {
                            cut_off.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        Err(error) => panic!("no answer: {error}"),
                    };
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                    answered.fetch_add(1, Ordering::Relaxed);
                    let is_last = answer.contains("connection: close");
                    assert!(!is_last || is_over.load(Ordering::Relaxed));
                    kept = (keep_alive && !is_last).then_some(stream);
                }
            });
        }
        std::thread::sleep(Duration::from_millis(500));
        is_over.store(true, Ordering::Relaxed);
        serving.signal("TERM");
        assert_eq!(serving.exit_code(), Some(0), "{}", serving.logged());
    });
    assert!(answered.load(Ordering::Relaxed) > 100, "{answered:?}");
    serving.wait_for("stopped");
    cut_off.into_inner()
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let mut serving = Serving::start(&mut serve(&["--drain-delay-ms", "0"]));
    let mut idle = connect(serving.address);
    ask(&mut idle, "a", "").unwrap();
    let mut half = connect(serving.address);
    half.write_all(b"POST /v1/detect HTTP/1.1\r\nhost:").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    serving.signal("INT");
    let start = Instant::now();
    assert_eq!(serving.exit_code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn sighup_reloads_the_models() {
    let serving = Serving::start(&mut serve(&[]));
    serving.signal("HUP");
    serving.wait_for("the new models are in use");
    assert!(ask(&mut connect(serving.address), "a", "").unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn numbers_are_those_of_detect() {
    let serving = Serving::start(&mut serve(&[]));
    let text = "I watched the film yesterday.";
    let answer = ask(&mut connect(serving.address), text, "").unwrap();
    let served: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let detected =
        run(grice(["detect", "--json", "--threads", "1", "--response"]).arg(text)).expect(0).rows().remove(0);
    for name in ["violations", "cooperative", "truncated"] {
        assert_eq!(served[name], detected[name]);
    }
    for maxim in ["quantity", "quality", "relation", "manner"] {
        let [served, detected] = [&served, &detected].map(|row| row["probabilities"][maxim].as_f64().unwrap());
        // The command line writes six decimals, and the last of them may have been rounded either way.
        assert!((served - detected).abs() <= 0.51e-6, "{served} {detected}");
    }
}

#[test]
fn a_gpu_answers_as_the_cpu_does() {
    if !support::has_adapter() {
        return;
    }
    let answer = |device: &str| {
        let serving = Serving::start(&mut serve(&["--device", device]));
        let models = ask_models(serving.address);
        assert_eq!(models["models"][0]["device"], *device, "{models}");
        let answer = ask(&mut connect(serving.address), "I watched the film yesterday.", "").unwrap();
        serde_json::from_str::<Value>(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let [cpu, gpu, both] = ["cpu", "gpu", "gpu,cpu"].map(answer);
    for maxim in ["quantity", "quality", "relation", "manner"] {
        let [cpu, gpu, both] = [&cpu, &gpu, &both].map(|row| row["probabilities"][maxim].as_f64().unwrap());
        assert!((cpu - gpu).abs() < 1e-4 && (cpu - both).abs() < 1e-4, "{maxim}: {cpu} {gpu} {both}");
    }
}

/// The ONNX file is gone, so that nothing but the compiled engine can answer.
#[cfg(feature = "gpu")]
#[test]
fn a_compiled_engine_serves() {
    if !support::has_adapter() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("bundle");
    support::copy_folder(&tiny_bert(), &model);
    let with = |command: &mut Command| {
        command.env("GRICE_CACHE_DIR", folder.path().join("cache")).arg("--model").arg(&model);
        run(command).expect(0)
    };
    with(bare().arg("compile"));
    let told = with(bare().args(["detect", "--json", "--response", "I watched the film yesterday."])).out;
    let detected: Value = serde_json::from_str(&told).unwrap();
    std::fs::remove_file(model.join("onnx/model.onnx")).unwrap();
    let mut command = bare();
    command.args(["serve", "--listen", "127.0.0.1:0", "--device", "gpu", "--model"]).arg(&model);
    let serving = Serving::start(command.env("GRICE_CACHE_DIR", folder.path().join("cache")));
    let answer = ask(&mut connect(serving.address), "I watched the film yesterday.", "").unwrap();
    let served: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    for maxim in ["quantity", "quality", "relation", "manner"] {
        let [served, detected] = [&served, &detected].map(|row| row["probabilities"][maxim].as_f64().unwrap());
        assert!((served - detected).abs() < 1e-4, "{maxim}: {served} {detected}");
    }
}

#[test]
fn the_health_check_tells_by_its_exit_status() {
    let mut serving = Serving::start(&mut serve(&[]));
    let check = |path: &str| run(bare().args(["doctor", "--health", &format!("http://{}{path}", serving.address)]));
    check("").expect(0);
    check("/v2/models/tiny-bert/ready").expect(0);
    assert!(check("/nowhere").expect(1).err.contains("404"));
    let address = serving.address;
    serving.signal("TERM");
    serving.exit_code();
    run(bare().args(["doctor", "--health", &format!("http://{address}")])).expect(1);
    run(bare().args(["doctor", "--health", "ftp://host"])).expect(1);
}

#[test]
fn flags_go_before_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grice.toml");
    std::fs::write(&file, "[serve]\nreplicas = 3\nlog-format = \"json\"\ndeadline-ms = 5000\naccess-log = true\n")
        .unwrap();
    let replicas = |command: &mut Command| {
        let serving = Serving::start(command.current_dir(folder.path()));
        let models = ask_models(serving.address);
        // The file's log format holds all along.
        serving.logged().lines().for_each(|line| _ = serde_json::from_str::<Value>(line).unwrap());
        serving.wait_for("\"route\":\"/v1/models\"");
        models["models"][0]["replicas"].as_u64().unwrap()
    };
    assert_eq!(replicas(&mut serve(&[])), 3);
    assert_eq!(replicas(serve(&[]).env("GRICE_REPLICAS", "2")), 2);
    assert_eq!(replicas(serve(&["--replicas", "1"]).env("GRICE_REPLICAS", "2")), 1);
    assert_eq!(replicas(&mut serve(&["--device", "cpu,cpu", "--replicas", "2"])), 2);
}

#[test]
fn what_users_wrote_is_logged_only_when_asked() {
    let logged = |more: &[&str], words: &str| {
        let serving = Serving::start(&mut serve(more));
        ask(&mut connect(serving.address), "a secret thing", "x-request-id: mine\r\n").unwrap();
        serving.wait_for(words);
        serving.logged()
    };
    let lines = logged(&["--access-log"], "request_id");
    assert!(lines.contains("mine") && lines.contains("/v1/detect") && !lines.contains("secret"), "{lines}");
    assert!(logged(&["--access-log", "--log-texts"], "request_id").contains("a secret thing"));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let check = |command: &mut Command, code: i32, words: &str| {
        let ran = run(command).expect(code);
        assert!(ran.err.contains(words), "{}", ran.err);
    };
    let bundle = format!("a={}", tiny_bert().display());
    check(&mut serve(&["--device", "tpu"]), 2, "not a device");
    check(&mut serve(&["--device", "gpu:99"]), 1, "no GPU can be used");
    check(&mut serve(&["--device", "cpu,cpu", "--replicas", "3"]), 2, "contradict each other");
    check(&mut serve(&["--bundle", &bundle]), 2, "not both");
    check(&mut serve(&["--log", "a=b=c"]), 2, "--log");
    check(&mut serve(&["--config", "/no/such/file.toml"]), 2, "/no/such/file.toml");
    check(&mut serve(&["--cache", "http://host"]), 2, "redis://");
    check(serve(&[]).env("GRICE_API_KEYS", "short"), 2, "at least 8 characters");
    check(bare().args(["serve", "--listen", "127.0.0.1:0", "--bundle", &bundle, "--bundle", &bundle]), 2, "two models");
    check(bare().args(["serve", "--listen", "127.0.0.1:0", "--model", "/no/such/bundle"]), 1, "/no/such/bundle");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(grice(["serve", "--listen", &address]).arg("--quiet"), 1, "cannot listen on");
}

#[test]
fn keys_that_are_asked_for_and_not_there_are_no_open_door() {
    let check = |command: &mut Command, code: i32, words: &str| {
        let ran = run(command).expect(code);
        assert!(ran.err.contains(words), "{}", ran.err);
    };
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("no-keys.txt");
    std::fs::write(&empty, "# none yet\n\n").unwrap();
    for variable in ["GRICE_API_KEYS", "GRICE_ADMIN_KEY"] {
        for blank in ["", " , "] {
            check(serve(&[]).env(variable, blank), 2, &format!("{variable} is set but holds no key"));
        }
    }
    for (flag, variable) in [("--api-keys-file", "GRICE_API_KEYS_FILE"), ("--admin-key-file", "GRICE_ADMIN_KEY_FILE")] {
        check(&mut serve(&[flag, empty.to_str().unwrap()]), 2, "no-keys.txt holds no key");
        check(serve(&[]).env(variable, &empty), 2, "no-keys.txt holds no key");
        check(serve(&[]).env(variable, ""), 2, flag);
        let config = folder.path().join("no-keys.toml");
        std::fs::write(&config, format!("[serve]\n{} = {:?}\n", &flag[2..], empty)).unwrap();
        check(&mut serve(&["--config", config.to_str().unwrap()]), 2, "no-keys.txt holds no key");
        std::fs::write(&config, format!("[serve]\n{} = \"\"\n", &flag[2..])).unwrap();
        check(&mut serve(&["--config", config.to_str().unwrap()]), 2, flag);
    }
    check(serve(&[]).env("GRICE_ADMIN_KEY", "first-admin-key,second-admin-key"), 2, "2 admin keys");
}
