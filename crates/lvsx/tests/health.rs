//! Health checks in the tutorial's lab: servers that die, flap and come back, with real connections through the director. Needs root.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lvsx_lab::client::page;
use lvsx_lab::topology::SERVERS;
use nix::sys::signal::Signal;

#[path = "common/agent_lines.rs"]
mod agent_lines;
#[path = "health/scene.rs"]
mod scene;

use agent_lines::LINES;
use scene::{PATIENCE, Running, SCRIPT_USER, Scene, USER, wait};

/// A check every 200 ms; a server is down after two failures of 250 ms at most, up after two successes.
const QUICK: &str = "interval = \"200ms\"\ntimeout = \"250ms\"\nrise = 2\nfall = 2\n";

/// The bound that the documents give for a server that dies, and what a busy machine adds.
const DEAD: Duration = Duration::from_millis(2 * 200 + 250);
const BUSY: Duration = Duration::from_millis(1500);

/// All in one lab, since each takes seconds to build.
#[test]
fn servers_are_checked_and_weights_follow() -> Result<()> {
    let mut scene = Scene::new()?;
    let begin = Instant::now();
    let passed = |what: &str| eprintln!("{what} after {:?}", begin.elapsed());
    rights_are_bounded(&scene)?;
    passed("rights are bounded");
    a_dead_server_leaves(&mut scene)?;
    passed("a dead server leaves");
    one_that_flaps_does_not_flap_the_pool(&scene)?;
    passed("one that flaps");
    every_kind_of_check_sees_a_cut_cable(&scene)?;
    passed("every kind");
    killed_checks_leave_everything(&mut scene)?;
    passed("killed checks");
    orders_are_followed(&scene)?;
    passed("orders");
    weights_follow_the_load(&scene)?;
    passed("load");
    twenty_lines_are_followed(&scene)?;
    passed("twenty lines");
    scripts_cannot_get_out_of_hand(&scene)?;
    passed("scripts");
    Ok(())
}

fn http(port: u16, more: &str) -> String {
    format!(
        "[check.web]\ntype = \"http\"\n{QUICK}[[service]]\nservice = \"tcp 8.8.8.8:{port}\"\ncheck = \"web\"\n{more}\n"
    )
}

/// What nobody may do who may set weights.
fn rights_are_bounded(scene: &Scene) -> Result<()> {
    use lvsx_ipvs::transport::WEIGHTS_NAME;
    use lvsx_ipvs::{Client, ClientError, DestinationSettings, Errno, Request, Transport};
    let path = scene
        .director
        .namespace()
        .run(lvsx_ipvs::check_dir)??
        .join(WEIGHTS_NAME);
    let mut client = Client::new(Transport::director(&path)?);
    let services = client.services()?;
    ensure!(services.len() == 4, "the tables can be read");
    let key = services[0].key;
    let server = client.destinations(&key)?[0].clone();
    let settings = |weight| DestinationSettings {
        weight,
        ..server.settings
    };
    let overloaded = DestinationSettings {
        upper_threshold: 1,
        ..server.settings
    };
    for refused in [
        Request::Flush,
        Request::Zero(None),
        Request::DeleteService(key),
        Request::DeleteDestination(key, server.key),
        Request::NewDestination(key, server.key, server.settings),
        Request::SetDestination(key, server.key, overloaded),
        Request::EndConnections(key, server.key),
        Request::SetSetting("drop_entry".into(), "1".into()),
        Request::ProcText("ip_vs_conn".into()),
        Request::Marks,
    ] {
        match client.call(&refused) {
            Err(ClientError::Explained(why))
                if why.errno == Errno::EPERM
                    && why.why.contains("allowed") | why.why.contains("may be") => {}
            other => bail!("{refused:?}: {other:?}"),
        }
    }
    client.call(&Request::SetDestination(key, server.key, settings(0)))?;
    client.end_connections(&key, &server.key)?;
    client.call(&Request::SetDestination(key, server.key, server.settings))?;
    // Others than root and the checks' user are not even let in.
    let connects = |user: &str| -> Result<bool> {
        let script = format!(
            "perl -MSocket -e 'socket(S,AF_UNIX,SOCK_SEQPACKET,0);exit(connect(S,sockaddr_un(shift))?0:1)' {}",
            path.display()
        );
        Ok(scene
            .director
            .run(&format!("setpriv --reuid {user} --clear-groups {script}"))?
            .status
            .success())
    };
    ensure!(connects(USER)? && !connects(SCRIPT_USER)?);
    Ok(())
}

fn a_dead_server_leaves(scene: &mut Scene) -> Result<()> {
    let config = format!(
        "{}[[service]]\nservice = \"tcp 8.8.8.8:81\"\ncheck = \"web\"\nslow_start = \"2s\"\non_failure = \"remove\"\n\
         [[service]]\nservice = \"udp 8.8.8.8:82\"\ncheck = \"web\"\n[[service]]\nservice = \"tcp 8.8.8.8:83\"\nsorry = \"192.168.1.47:80\"\ncheck = \"web\"\n",
        http(80, "")
    );
    let check = scene.check(&config)?;
    scene.until_weights(83, [2, 0])?;
    ensure!(
        scene.weights(80)? == [2, 3] && scene.weights(82)? == [2, 3],
        "the others stay"
    );
    // A connection to each server; each server is asked once for all four services.
    let mut before: Vec<TcpStream> = (0..4).map(|_| scene.client(80)).collect::<Result<_>>()?;
    let _kept: Vec<TcpStream> = (0..4).map(|_| scene.client(81)).collect::<Result<_>>()?;
    ensure!(scene.connections(81)?[0] > 0);
    let died = Instant::now();
    let web = scene.webs.remove(0);
    web.kill()?;
    scene.until_weights(80, [0, 3])?;
    let took = died.elapsed();
    ensure!(took < DEAD + BUSY, "it left after {took:?}");
    scene.until_weights(82, [0, 3])?;
    scene.until_weights(83, [0, 3])?;
    // Inhibited it keeps its connections; removed it does not.
    scene.until_weights(81, [0, 24])?;
    wait("connections are ended", PATIENCE, || {
        Ok(scene.connections(81)?[0] == 0)
    })?;
    ensure!(scene.connections(81)?[1] > 0 && scene.connections(80)?[0] > 0);
    // New clients come to the other one, and connections there go on.
    for _ in 0..4 {
        ensure!(page(scene.client(80)?)?.trim() == "192.168.1.47");
    }
    let pages: Vec<String> = before
        .drain(..)
        .filter_map(|stream| page(stream).ok())
        .collect();
    ensure!(
        pages.len() == 2 && pages.iter().all(|page| page.trim() == "192.168.1.47"),
        "{pages:?}"
    );
    // It comes back, slowly where that is wanted.
    let web = scene.web(SERVERS[0])?;
    scene.webs.insert(0, web);
    scene.until_weights(80, [2, 3])?;
    scene.until_weights(83, [2, 0])?;
    let slow = scene.weights(81)?;
    ensure!(slow[0] > 0 && slow[0] < 16 && slow[1] == 24, "{slow:?}");
    scene.until_weights(81, [16, 24])?;
    ensure!(page(scene.client(80)?).is_ok());
    check.signal(Signal::SIGTERM);
    Ok(())
}

fn one_that_flaps_does_not_flap_the_pool(scene: &Scene) -> Result<()> {
    scene.run("ipvsadm -et 8.8.8.8:81 -r 192.168.1.46:80 -m -w 2; ipvsadm -et 8.8.8.8:81 -r 192.168.1.47:80 -m -w 3")?;
    let log = scene.check_log().len();
    let check = scene.check(&http(80, ""))?;
    // Silent for a while, and there for a while.
    for _ in 0..5 {
        scene.webs[0].signal(Signal::SIGSTOP);
        sleep(Duration::from_millis(800));
        scene.webs[0].signal(Signal::SIGCONT);
        sleep(Duration::from_millis(500));
    }
    let log = scene.check_log()[log..].to_owned();
    let moves = log
        .lines()
        .filter(|line| line.contains("192.168.1.46:80 of tcp 8.8.8.8:80: weight"))
        .count();
    ensure!(
        (1..=5).contains(&moves),
        "{moves} changes of weight:\n{log}"
    );
    scene.until_weights(80, [2, 3])?;
    drop(check);
    Ok(())
}

fn every_kind_of_check_sees_a_cut_cable(scene: &Scene) -> Result<()> {
    let kind = |name: &str, more: &str, service: &str| {
        format!(
            "[check.{name}]\ntype = \"{name}\"\n{QUICK}{more}[[service]]\nservice = \"{service}\"\ncheck = \"{name}\"\n"
        )
    };
    let config = kind("ping", "", "tcp 8.8.8.8:80")
        + &kind("tcp", "", "tcp 8.8.8.8:81")
        + &kind("udp", "send = \"00\"\n", "udp 8.8.8.8:82");
    let check = scene.check(&config)?;
    // Nobody listens there: all fail at once, and nobody believes it.
    wait("the pool panics", PATIENCE, || {
        Ok(scene
            .check_log()
            .contains("udp 8.8.8.8:82: 2 of 2 servers failed at once"))
    })?;
    scene.until_weights(82, [2, 3])?;
    let server = scene.lab.host(SERVERS[0])?;
    // Its routes go with the link.
    let route = server.run("ip route show default")?.success()?;
    server.run("ip link set eth0 down")?.success()?;
    scene.until_weights(80, [0, 3])?;
    scene.until_weights(81, [0, 3])?;
    server
        .run(&format!(
            "ip link set eth0 up && ip route replace {}",
            route.trim()
        ))?
        .success()?;
    scene.until_weights(80, [2, 3])?;
    scene.until_weights(81, [2, 3])?;
    drop(check);
    Ok(())
}

/// Agents tell a load; weights follow where they shall, and go home when nobody tells any more.
fn weights_follow_the_load(scene: &Scene) -> Result<()> {
    let mut agents = Vec::new();
    for (server, load) in SERVERS.into_iter().zip(["0.9", "0.3"]) {
        let file = scene.lab.folder().path().join(format!("load-{server}"));
        std::fs::write(&file, load)?;
        let file = file.to_string_lossy().into_owned();
        let arguments = [
            "agent",
            "--inputs",
            "app",
            "--app",
            &file,
            "--interval",
            "20ms",
        ];
        agents.push(Running(
            scene.lab.host(server)?.start("lvsx", &arguments, "agent")?,
        ));
    }
    let service = |port: u16, load: &str| {
        format!(
            "[[service]]\nservice = \"tcp 8.8.8.8:{port}\"\nload = \"{load}\"\nagent_interval = \"50ms\"\n\
             agent_timeout = \"200ms\"\nload_period = \"100ms\"\n"
        )
    };
    let check = scene.check(&(service(81, "on") + &service(83, "shadow") + &service(80, "off")))?;
    wait("weights follow", PATIENCE, || {
        let [loaded, free] = scene.weights(81)?;
        Ok(loaded < 12 && free > 26)
    })?;
    ensure!(
        scene.weights(83)? == [2, 3] && scene.weights(80)? == [2, 3],
        "in the shadow nothing moves"
    );
    wait("the shadow says what it would do", PATIENCE, || {
        Ok(scene
            .check_log()
            .contains("192.168.1.46:80 of tcp 8.8.8.8:83: would have"))
    })?;
    agents.clear();
    scene.until_weights(81, [16, 24])?;
    drop(check);
    scene.run("ipvsadm -et 8.8.8.8:81 -r 192.168.1.46:80 -m -w 2; ipvsadm -et 8.8.8.8:81 -r 192.168.1.47:80 -m -w 3")?;
    Ok(())
}

/// An agent says what HAProxy's documents and behaviour give a meaning to; the director's table has the weight that HAProxy gives.
fn twenty_lines_are_followed(scene: &Scene) -> Result<()> {
    let edit = |weight: [u32; 2]| {
        let server =
            |last, weight| format!("ipvsadm -et 8.8.8.8:81 -r 192.168.1.{last}:80 -m -w {weight}");
        scene.run(&format!(
            "{}; {}",
            server(46, weight[0]),
            server(47, weight[1])
        ))
    };
    edit([100, 100])?;
    let namespace = scene.lab.host(SERVERS[0])?.namespace().clone();
    let listener = namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9707)))??;
    let line = agent_lines::said_by(listener);
    let check = scene.check(
        "[[service]]\nservice = \"tcp 8.8.8.8:81\"\nload = \"on\"\nagent_interval = \"20ms\"\nagent_timeout = \"200ms\"\n",
    )?;
    for (text, weight) in LINES {
        // Half a line is no answer. HAProxy keeps what it heard before; here one who says nothing else has the configured weight.
        let weight = if text.ends_with(b"\n") { weight } else { 100 };
        line.say(text);
        wait("the agent is asked", PATIENCE, || Ok(line.times_said() > 2))?;
        scene
            .until_weights(81, [weight, 100])
            .with_context(|| String::from_utf8_lossy(text).into_owned())?;
    }
    drop(check);
    edit([2, 3])?;
    Ok(())
}

fn killed_checks_leave_everything(scene: &mut Scene) -> Result<()> {
    let check = scene.check(&http(80, ""))?;
    let web = scene.webs.remove(0);
    web.kill()?;
    scene.until_weights(80, [0, 3])?;
    check.kill()?;
    sleep(Duration::from_millis(300));
    ensure!(scene.weights(80)? == [0, 3]);
    for _ in 0..4 {
        ensure!(page(scene.client(80)?)?.trim() == "192.168.1.47");
    }
    // The next one knows what is configured, and that the server was down.
    let check = scene.check(&http(80, ""))?;
    let second = scene.check(&http(80, "")).err().context("there are two")?;
    ensure!(
        format!("{second:#}").contains("another lvsx-check runs"),
        "{second:#}"
    );
    sleep(Duration::from_millis(700));
    ensure!(scene.weights(80)? == [0, 3]);
    let web = scene.web(SERVERS[0])?;
    scene.webs.insert(0, web);
    scene.until_weights(80, [2, 3])?;
    // What the operator sets by hand is configured from then on.
    scene.run("ipvsadm -et 8.8.8.8:80 -r 192.168.1.46:80 -m -w 7")?;
    sleep(Duration::from_millis(700));
    ensure!(scene.weights(80)? == [7, 3]);
    scene.run("ipvsadm -et 8.8.8.8:80 -r 192.168.1.46:80 -m -w 2")?;
    drop(check);
    Ok(())
}

fn orders_are_followed(scene: &Scene) -> Result<()> {
    let nobody = scene.director.run("lvsx drain 192.168.1.46")?;
    ensure!(
        !nobody.status.success() && nobody.stderr.contains("lvsx-check"),
        "{nobody:?}"
    );
    let stranger = scene.director.run("lvsx drain 192.168.1.99")?;
    ensure!(stranger.stderr.contains("ipvsadm -Ln"), "{stranger:?}");
    let check = scene.check(&http(80, ""))?;
    ensure!(scene.weights(80)? == [2, 3], "the order was taken back");
    let mut open: Vec<TcpStream> = (0..2).map(|_| scene.client(80)).collect::<Result<_>>()?;
    let ended = scene.run("lvsx drain 192.168.1.46 --within 1s")?;
    ensure!(
        ended.contains("connections to 192.168.1.46 were ended"),
        "{ended}"
    );
    ensure!(
        scene.weights(80)? == [0, 3] && scene.weights(82)? == [0, 3],
        "in all services"
    );
    let pages = open.drain(..).map(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).map(|_| text)
    });
    let pages: Vec<_> = pages.collect();
    let reset = |page: &&std::io::Result<String>| matches!(page, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset);
    ensure!(
        pages.iter().filter(reset).count() == 1,
        "one is told so, the other goes on: {pages:?}"
    );
    ensure!(
        pages.iter().filter(|page| page.is_ok()).count() == 1,
        "{pages:?}"
    );
    scene.run("lvsx ready 192.168.1.46")?;
    scene.until_weights(80, [2, 3])?;
    scene.run("lvsx maint 192.168.1.47:80")?;
    ensure!(scene.weights(80)? == [2, 0]);
    scene.run("lvsx ready 192.168.1.47:80")?;
    scene.until_weights(80, [2, 3])?;
    drop(check);
    Ok(())
}

fn scripts_cannot_get_out_of_hand(scene: &Scene) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let script = |name: &str, text: &str| -> Result<String> {
        let path = scene.scripts.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(path.to_string_lossy().into_owned())
    };
    // Ends well for one server; for the other it forks, leaves its group, and never ends.
    let wild = script(
        "wild",
        "[ \"$(id -un)\" = games ] || exit 1\n[ \"$1 $2\" = '192.168.1.46 80' ] && exit 0\n\
         while :; do setsid -f sleep 1000 & sh -c 'sleep 1000 & sleep 1000' & sleep 0.01; done",
    )?;
    let config = format!(
        "[check.wild]\ntype = \"script\"\nscript = \"{wild}\"\ninterval = \"500ms\"\ntimeout = \"400ms\"\nfall = 2\nrise = 1\n\
         [[service]]\nservice = \"tcp 8.8.8.8:80\"\ncheck = \"wild\"\n"
    );
    let check = scene.check(&config)?;
    scene.until_weights(80, [2, 0])?;
    sleep(Duration::from_secs(2));
    ensure!(
        scene.weights(80)? == [2, 0],
        "the good one stays in service"
    );
    let most = scene
        .director
        .run("ps -u games --no-headers | wc -l")?
        .success()?;
    ensure!(
        most.trim().parse::<u32>()? <= 64,
        "{most} processes at most"
    );
    check.kill()?;
    wait("nothing is left of the scripts", PATIENCE, || {
        Ok(scene
            .director
            .run("ps -u games --no-headers | wc -l")?
            .success()?
            .trim()
            == "0")
    })?;
    // A script that others can change is not taken.
    std::fs::set_permissions(&wild, std::fs::Permissions::from_mode(0o777))?;
    let refused = scene.check(&config).err().context("it starts")?;
    ensure!(
        format!("{refused:#}").contains(&format!("chmod go-w {wild}")),
        "{refused:#}"
    );
    let typo = scene
        .check(&config.replace("timeout", "timeot"))
        .err()
        .context("it starts")?;
    ensure!(
        format!("{typo:#}").contains("`timeot`") && format!("{typo:#}").contains("`timeout`"),
        "{typo:#}"
    );
    Ok(())
}
