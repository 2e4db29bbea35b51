//! Where a sandbox's ports are, and what it may reach itself.

use super::Server;
use crate::support::{answer, config};
use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use sandcastle::boot::App;
use sandcastle::sandbox::egress::{Egress, Resolver};
use sandcastle::sandbox::local::LocalProvider;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;

/// Every name below example.com, at one address.
struct Names;

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        match name.ends_with(".example.com") {
            true => Ok(vec!["203.0.113.80".parse().unwrap()]),
            false => Err(std::io::Error::other("no such name")),
        }
    }
}

/// A server whose sandboxes' way out leads to an upstream of the test's.
async fn server() -> Server {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let config = config(&dir);
    let egress = Egress::new(Arc::new(Names), Some(crate::egress::upstream().await));
    let data = config.server.data_dir.clone();
    let provider = Arc::new(LocalProvider::new(config.sandbox.clone(), data, Arc::new(egress)));
    Server::over(App::start_over(config, provider).await.unwrap(), dir).await
}

/// Asks for a name from inside: the answer's first words, or the refusal's.
async fn fetch(server: &Server, sandbox: &super::Made, url: &str) -> String {
    let program = format!(
        "import urllib.request as u, urllib.error\ntry: print(u.urlopen('{url}', timeout=20).read().decode())\n\
         except urllib.error.HTTPError as error: print(error.read().decode())\nexcept OSError as error: print('failed', error)"
    );
    server.shell(sandbox, &format!("python3 - <<'END'\n{program}\nEND")).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn allow_and_deny_decide_what_is_reached() {
    let server = server().await;
    let (web, other) = ("http://web.example.com/", "http://other.example.com/");
    let open = server.sandbox().await;
    assert!(fetch(&server, &open, web).await.starts_with("CONNECT 203.0.113.80:80"));
    let network = json!({"allowOut": ["web.example.com"], "denyOut": ["0.0.0.0/0"]});
    let narrow = server.sandbox_of(&json!({"templateID": "base", "network": network})).await;
    assert!(fetch(&server, &narrow, web).await.starts_with("CONNECT 203.0.113.80:80"));
    let refused = fetch(&server, &narrow, other).await;
    assert!(refused.contains("other.example.com may not be reached"), "{refused}");
    let closed = server.sandbox_of(&json!({"templateID": "base", "allow_internet_access": false})).await;
    let refused = fetch(&server, &closed, web).await;
    assert!(refused.contains("may not be reached") || refused.starts_with("failed"), "{refused}");
    // The rules are replaced as a whole, at once.
    let put = async |sandbox: &super::Made, rules: serde_json::Value| {
        server.ask(Method::PUT, &format!("/sandboxes/{}/network", sandbox.0), &rules, 204).await
    };
    put(&narrow, json!({"allowOut": ["*.example.com"], "denyOut": ["0.0.0.0/0"]})).await;
    assert!(fetch(&server, &narrow, other).await.starts_with("CONNECT 203.0.113.80:80"));
    put(&open, json!({"denyOut": ["203.0.113.0/24"]})).await;
    let refused = fetch(&server, &open, web).await;
    assert!(!refused.starts_with("CONNECT"), "{refused}");
    put(&open, json!({"denyOut": ["203.0.113.0/24"], "allowOut": ["203.0.113.80"]})).await;
    let allowed = fetch(&server, &open, web).await;
    assert!(allowed.starts_with("CONNECT"), "{allowed}");
    let detail = server.ask(Method::GET, &format!("/sandboxes/{}", open.0), &json!({}), 200).await;
    assert_eq!(detail["network"]["denyOut"], json!(["203.0.113.0/24"]));
    // Whatever is allowed, the host and private networks are not.
    put(&open, json!({"allowOut": ["0.0.0.0/0", "10.0.0.0/8"]})).await;
    let refused = fetch(&server, &open, "http://10.0.0.1/").await;
    assert!(!refused.starts_with("CONNECT"), "{refused}");
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_come_in_wakes_a_paused_sandbox() {
    let server = Server::start().await;
    let asked = json!({
        "templateID": "base", "timeout": 600, "autoPause": true, "autoResume": {"enabled": true},
        "network": {"allowPublicTraffic": false},
    });
    let made = server.ask(Method::POST, "/v2/sandboxes", &asked, 201).await;
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let (sandbox, traffic) = ((text("sandboxID"), text("envdAccessToken")), text("trafficAccessToken"));
    let path = format!("/sandboxes/{}", sandbox.0);
    let state = async || server.ask(Method::GET, &path, &json!({}), 200).await["state"].clone();
    let ask = |port: &str, method: Method, path: &str| {
        let request = server.request(method, path).header("e2b-sandbox-id", &sandbox.0);
        request.header("e2b-sandbox-port", port)
    };
    let health = || ask("49983", Method::GET, "/health");
    assert_eq!(answer(health()).await.0, StatusCode::NO_CONTENT, "whether it runs is no secret");
    server.ask(Method::POST, &format!("{path}/pause"), &json!({}), 204).await;
    for (request, status) in [
        (health(), 502),
        (health().header("x-access-token", "wrong"), 502),
        (ask("49983", Method::GET, "/files?path=a"), 401),
        (ask("49983", Method::GET, "/files?path=a&signature=v1_x"), 401),
        (ask("49983", Method::POST, "/process.Process/List").header("x-access-token", "wrong"), 401),
        (ask("8000", Method::GET, "/"), 403),
        (ask("8000", Method::GET, "/").header("e2b-traffic-access-token", "wrong"), 403),
    ] {
        assert_eq!(answer(request).await.0.as_u16(), status);
        assert_eq!(state().await, "paused");
    }
    assert_eq!(answer(health().header("x-access-token", &sandbox.1)).await.0, StatusCode::NO_CONTENT);
    assert_eq!(state().await, "running");
    server.ask(Method::POST, &format!("{path}/pause"), &json!({}), 204).await;
    let open = ask("8000", Method::GET, "/").header("e2b-traffic-access-token", &traffic);
    assert_eq!(answer(open).await.1["message"], "The sandbox is running but port is not open");
    assert_eq!(state().await, "running");
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apps_cookies_are_those_of_its_own_host_and_never_the_platforms() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    let app = "import http.server as h\nclass A(h.BaseHTTPRequestHandler):\n def do_GET(self):\n  self.send_response(204)\n  \
               for c in ['a=1; Domain=example.com; Path=/', 'Sandcastle_token=x; Domain=example.com', 'b=2']: \
               self.send_header('Set-Cookie', c)\n  self.end_headers()\nh.HTTPServer(('', 8200), A).serve_forever()";
    let start = format!(
        "cat > app.py <<'END'\n{app}\nEND\npython3 app.py >/dev/null 2>&1 & \
         until curl -s -o /dev/null http://127.0.0.1:8200/; do sleep 0.05; done; echo up"
    );
    assert_eq!(server.shell(&sandbox, &start).await.0, "up\n");
    let host = format!("8200-{}.localhost:{}", sandbox.0, server.app.addr().port());
    let response = server.request(Method::GET, "/").header("host", host).send().await.unwrap();
    let cookies: Vec<&str> =
        response.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2"]);
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_reached_by_its_host_and_by_headers() {
    let server = Server::start().await;
    let start = "python3 -m http.server 8200 >/dev/null 2>&1 & \
                 until curl -s -o /dev/null http://127.0.0.1:8200/; do sleep 0.05; done; echo up";
    let sandbox = server.sandbox().await;
    server.upload(&sandbox, "page.txt", b"from inside".to_vec(), 200).await;
    assert_eq!(server.shell(&sandbox, start).await.0, "up\n");
    let port = server.app.addr().port();
    let by_host = async |name: &str| {
        let request = server.request(Method::GET, "/page.txt").header("host", format!("{name}.localhost:{port}"));
        request.send().await.unwrap()
    };
    let served = by_host(&format!("8200-{}", sandbox.0)).await;
    assert_eq!((served.status(), served.text().await.unwrap().as_str()), (StatusCode::OK, "from inside"));
    // Nobody listens; nobody is there.
    let closed = by_host(&format!("8201-{}", sandbox.0)).await;
    assert_eq!(closed.status(), StatusCode::BAD_GATEWAY);
    let said: serde_json::Value = closed.json().await.unwrap();
    assert_eq!(
        (&said["message"], &said["port"]),
        (&json!("The sandbox is running but port is not open"), &json!(8201))
    );
    // The services are at a host of their own, with their token.
    let host = format!("49983-{}.localhost:{port}", sandbox.0);
    let envs = || server.request(Method::GET, "/envs").header("host", &host);
    assert_eq!(answer(envs()).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(answer(envs().header("x-access-token", &sandbox.1)).await.0, StatusCode::OK);
    let gone =
        server.request(Method::GET, "/health").header("host", format!("49983-iaaaaaaaaaaaaaaaaaaa.localhost:{port}"));
    assert_eq!(answer(gone).await.0, StatusCode::BAD_GATEWAY);
    let by_headers = server.request(Method::GET, "/page.txt").header("e2b-sandbox-id", &sandbox.0);
    let served = by_headers.header("e2b-sandbox-port", "8200").send().await.unwrap();
    assert_eq!(served.text().await.unwrap(), "from inside");
    let half = server.request(Method::GET, "/page.txt").header("e2b-sandbox-id", &sandbox.0);
    assert_eq!(answer(half).await.0, StatusCode::BAD_REQUEST);
    // One whose ports are private asks for the token it was given.
    let network = json!({"allowPublicTraffic": false});
    let body = server.ask(Method::POST, "/v2/sandboxes", &json!({"templateID": "base", "network": network}), 201).await;
    let private =
        (body["sandboxID"].as_str().unwrap().to_owned(), body["envdAccessToken"].as_str().unwrap().to_owned());
    assert_eq!(server.shell(&private, start).await.0, "up\n");
    let ask = || server.request(Method::GET, "/").header("host", format!("8200-{}.localhost:{port}", private.0));
    assert_eq!(ask().send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let token = body["trafficAccessToken"].as_str().unwrap();
    assert_eq!(ask().header("e2b-traffic-access-token", token).send().await.unwrap().status(), StatusCode::OK);
    server.app.stop().await;
}
