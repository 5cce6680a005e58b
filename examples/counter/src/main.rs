//! A counter that survives the death of any minority of its processes. Start three,
//! each with its own id, and say `incr`, `get` or `leader` to any (`nc 127.0.0.1 8001`):
//!
//!     counter 1 127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003 127.0.0.1:8001 ./counter-1

mod machine;
use driftless::{Builder, Handle, NodeId, RequestError};
use machine::Counter;
use std::sync::atomic::Ordering::SeqCst;
use std::{error::Error, io};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, Instant};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [id, members, clients, directory] = &args[..] else {
        return Err("usage: counter ID PEER_ADDRESS,... CLIENT_ADDRESS DIRECTORY".into());
    };
    let mut builder = Builder::new(NodeId(id.parse()?), "counter", directory, Counter::default());
    for (id, address) in (1..).zip(members.split(',')) {
        builder = builder.member(NodeId(id), address);
    }
    let listener = TcpListener::bind(clients).await?;
    let node = builder.start_on_current()?;
    println!("ready");
    loop {
        tokio::select! {
            ended = node.wait() => return Ok(ended?),
            client = listener.accept() => tokio::spawn(serve(client?.0, node.handle())),
        };
    }
}

async fn serve(mut client: TcpStream, handle: Handle<Counter>) -> Result<(), io::Error> {
    let (read, mut write) = client.split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = answer(&line, &handle).await.unwrap_or_else(|why| format!("error: {why}"));
        write.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn answer(line: &str, handle: &Handle<Counter>) -> Result<String, RequestError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    match line {
        "incr" => {
            let applied = handle.propose("incr".into(), deadline).await?;
            Ok(String::from_utf8_lossy(&applied.reply).into_owned())
        }
        "get" => {
            handle.read_barrier(deadline).await?;
            Ok(handle.reader().load(SeqCst).to_string())
        }
        "leader" => Ok(handle.status().leader.map_or("none".into(), |leader| leader.to_string())),
        _ => Ok("say incr, get or leader".into()),
    }
}
