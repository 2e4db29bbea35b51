//! Where settings come from and which wins.

use sandcastle::config::{Config, EngineConfig, Overrides, Sources};
use std::path::Path;

fn sources(env: &[(&str, &str)], toml: &str) -> Sources {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources {
        overrides: Overrides { data_dir: Some("/data".into()), ..Overrides::default() },
        env: env.collect(),
        file: Some(("Leptos.toml".into(), toml.to_owned())),
    }
}

fn resolve(env: &[(&str, &str)], toml: &str) -> Config {
    Config::resolve(&sources(env, toml)).unwrap()
}

fn refused(env: &[(&str, &str)], toml: &str) -> String {
    Config::resolve(&sources(env, toml)).unwrap_err().to_string()
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let toml = "[server]\naddr = \"127.0.0.1:1\"\n[sandbox]\nmemory-mib = 100\n";
    assert_eq!(resolve(&[], toml).server.addr.port(), 1);
    let env = [("SANDCASTLE_ADDR", "127.0.0.1:2"), ("SANDCASTLE_MEMORY_MIB", "200")];
    let config = resolve(&env, toml);
    assert_eq!((config.server.addr.port(), config.sandbox.memory_mib), (2, 200));
    let mut sources = sources(&env, toml);
    sources.overrides.addr = Some(([127, 0, 0, 1], 3).into());
    assert_eq!(Config::resolve(&sources).unwrap().server.addr.port(), 3);
}

#[test]
fn a_data_folder_named_from_the_working_directory_is_found_from_any_other() {
    let mut sources = sources(&[], "");
    sources.overrides.data_dir = Some("data".into());
    let folder = Config::resolve(&sources).unwrap().server.data_dir;
    assert!(folder.is_absolute() && folder.ends_with("data"), "{folder:?}");
}

#[test]
fn trying_models_by_themselves_can_be_switched_off() {
    assert!(resolve(&[], "").try_models);
    assert!(!resolve(&[("SANDCASTLE_TRY_MODELS", "off")], "").try_models);
    assert!(refused(&[("SANDCASTLE_TRY_MODELS", "no")], "").contains("neither on nor off"));
}

#[test]
fn the_environment_wins_over_env_local_and_that_over_env() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env"), "A=1\nB=1\nC=1\n").unwrap();
    std::fs::write(dir.path().join(".env.local"), "export B='2'\nC=2 # two\n").unwrap();
    let vars = [("C".into(), "3".into())].into_iter();
    let sources = Sources::read(Overrides::default(), dir.path(), vars).unwrap();
    let values: Vec<&str> = sources.env.values().map(String::as_str).collect();
    assert_eq!(values, ["1", "2", "3"]);
    let missing = Overrides { config: Some("/no/such.toml".into()), ..Overrides::default() };
    let error = Sources::read(missing, dir.path(), std::iter::empty()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /no/such.toml: there is no such file");
}

#[test]
fn a_key_goes_only_to_the_provider_it_belongs_to() {
    let none = resolve(&[], "").model;
    assert!(!none.configured && none.api_key.is_none());
    let gateway = resolve(&[("AI_GATEWAY_API_KEY", "k"), ("OPENAI_API_KEY", "o")], "").model;
    assert_eq!(gateway.base_url, "https://ai-gateway.vercel.sh/v1");
    assert_eq!(gateway.api_key.unwrap().expose(), "k");
    let openai = resolve(&[("OPENAI_API_KEY", "o")], "").model;
    assert_eq!((openai.base_url.as_str(), openai.configured), ("https://api.openai.com/v1", true));
    let local = resolve(&[("AI_GATEWAY_BASE_URL", "http://127.0.0.1:11434/v1/"), ("OPENAI_API_KEY", "o")], "").model;
    assert_eq!((local.base_url.as_str(), local.api_key), ("http://127.0.0.1:11434/v1", None));
    assert!(!resolve(&[("AI_GATEWAY_API_KEY", "")], "").model.configured);
}

#[test]
fn a_wrong_setting_is_named_with_what_is_expected() {
    assert!(refused(&[], "[server]\nadr = \"x\"\n").contains("unknown field `adr`"));
    assert!(refused(&[], "[servers]\n").contains("unknown field `servers`"));
    assert!(refused(&[("SANDCASTLE_ADDR", "nonsense")], "").starts_with("SANDCASTLE_ADDR: \"nonsense\""));
    assert!(refused(&[("SANDCASTLE_MEMORY_MIB", "1")], "").contains("not between 64 and"));
    assert!(refused(&[("AI_GATEWAY_BASE_URL", "ftp://x")], "").starts_with("AI_GATEWAY_BASE_URL"));
    assert!(refused(&[("SANDCASTLE_PREVIEW_DOMAIN", "http://x")], "").contains("bare domain"));
}

#[test]
fn an_address_others_can_reach_needs_a_token() {
    let error = refused(&[("SANDCASTLE_ADDR", "0.0.0.0:3000")], "");
    assert!(error.contains("SANDCASTLE_ACCESS_TOKEN") && error.contains("openssl rand"), "{error}");
    assert!(refused(&[("SANDCASTLE_ACCESS_TOKEN", "short")], "").contains("too short"));
    let open = [("SANDCASTLE_ADDR", "0.0.0.0:3000"), ("SANDCASTLE_ACCESS_TOKEN", "long enough to use")];
    assert!(resolve(&open, "").server.access_token.is_some());
}

#[test]
fn behind_a_proxy_previews_have_its_scheme_and_domain_and_a_token_is_needed() {
    let token = ("SANDCASTLE_ACCESS_TOKEN", "long enough to use");
    let url = ("SANDCASTLE_PUBLIC_URL", "https://castle.example.org");
    let server = resolve(&[url, token], "").server;
    assert_eq!(server.public_url.as_ref().map(ToString::to_string).as_deref(), Some("https://castle.example.org"));
    assert_eq!(server.preview_domain, "castle.example.org");
    assert!(server.trusted_proxies.iter().all(|network| network.addr().is_loopback()));
    assert_eq!(server.trusted_proxies.len(), 2);
    let named = [url, token, ("SANDCASTLE_TRUSTED_PROXIES", "10.0.0.2, 172.16.0.0/12")];
    let other = [&named[..], &[("SANDCASTLE_PREVIEW_DOMAIN", "apps.example.org")]].concat();
    let server = resolve(&other, "").server;
    let networks: Vec<String> = server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.2/32", "172.16.0.0/12"]);
    assert_eq!(server.preview_domain, "apps.example.org");
    assert!(resolve(&[], "").server.trusted_proxies.is_empty());
    assert!(resolve(&[("SANDCASTLE_PUBLIC_URL", "http://localhost:8080")], "").server.access_token.is_none());
    let error = refused(&[url], "");
    assert!(error.starts_with("SANDCASTLE_ACCESS_TOKEN") && error.contains("unset SANDCASTLE_PUBLIC_URL"), "{error}");
    assert!(refused(&[("SANDCASTLE_PUBLIC_URL", "castle.example.org")], "").contains("https://sandcastle.example.org"));
    assert!(refused(&[("SANDCASTLE_TRUSTED_PROXIES", "proxy")], "").contains("172.16.0.0/12"));
}

#[test]
fn restate_is_asked_for_by_name_and_reached_only_on_this_machine() {
    assert_eq!(resolve(&[], "").engine, EngineConfig::Embedded);
    assert_eq!(resolve(&[("WORKFLOW_ENGINE", "embedded")], "").engine, EngineConfig::Embedded);
    assert!(refused(&[("WORKFLOW_ENGINE", "temporal")], "").contains("there is no engine \"temporal\""));
    let at = |ingress: &str| {
        let env = [("WORKFLOW_ENGINE", "restate"), ("RESTATE_INGRESS_URL", ingress)];
        match resolve(&env, "").engine {
            EngineConfig::Restate(restate) => [restate.ingress.to_string(), restate.admin.to_string()],
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(at(""), ["http://127.0.0.1:8080", "http://127.0.0.1:9070"]);
    assert_eq!(at("http://localhost:1/")[0], "http://localhost:1");
    assert_eq!(at("http://[::1]:1")[0], "http://[::1]:1");
    assert_eq!(at("unix:/run/restate/ingress.sock")[0], "unix:/run/restate/ingress.sock");
    for elsewhere in
        ["http://10.0.0.1:8080", "https://127.0.0.1", "http://127.0.0.1.example.com", "http://localhost:1@x"]
    {
        let env = [("WORKFLOW_ENGINE", "restate"), ("RESTATE_INGRESS_URL", elsewhere)];
        let error = refused(&env, "");
        assert!(
            error.starts_with("RESTATE_INGRESS_URL") && error.contains("not an address on this machine"),
            "{error}"
        );
    }
}

#[test]
fn the_file_in_the_repository_is_valid_and_agrees_with_the_build() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("Leptos.toml")).unwrap();
    resolve(&[], &text);
    let runtime: toml::Table = text.parse().unwrap();
    let build: toml::Table = std::fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let leptos = |table: &toml::Table| table["package"]["metadata"]["leptos"].as_table().unwrap().clone();
    for (key, value) in leptos(&runtime) {
        assert_eq!(leptos(&build).get(&key), Some(&value), "{key}");
    }
}

#[test]
fn a_key_of_e2b_chooses_it_and_the_choice_of_a_provider_wins() {
    assert!(resolve(&[], "").e2b.is_none());
    let cloud = resolve(&[("E2B_API_KEY", "e2b_x")], "").e2b.unwrap();
    assert_eq!((cloud.api_url.as_str(), cloud.domain.as_str()), ("https://api.e2b.app", "e2b.app"));
    assert_eq!((cloud.sandbox_url, cloud.template.as_str(), cloud.timeout.as_secs()), (None, "base", 300));
    assert_eq!(cloud.api_key.expose(), "e2b_x");
    let own = [
        ("E2B_API_KEY", "e2b_x"),
        ("E2B_DOMAIN", "sand.example.org"),
        ("E2B_SANDBOX_URL", "http://10.0.0.2:3000/"),
        ("E2B_TEMPLATE", "node"),
        ("E2B_TIMEOUT", "60"),
    ];
    let own = resolve(&own, "").e2b.unwrap();
    assert_eq!(own.api_url, "https://api.sand.example.org");
    assert_eq!((own.sandbox_url.as_deref(), own.timeout.as_secs()), (Some("http://10.0.0.2:3000"), 60));
    assert!(resolve(&[("E2B_API_KEY", "k"), ("SANDCASTLE_PROVIDER", "local")], "").e2b.is_none());
    let table = "[sandbox]\nprovider = \"e2b\"\n[e2b]\napi-key = \"k\"\ntemplate = \"t\"\n";
    assert_eq!(resolve(&[], table).e2b.unwrap().template, "t");
}

#[test]
fn a_remote_provider_that_cannot_work_is_refused_in_words() {
    let none = refused(&[("SANDCASTLE_PROVIDER", "e2b")], "");
    assert!(none.contains("E2B_API_KEY"), "{none}");
    let other = refused(&[("SANDCASTLE_PROVIDER", "docker")], "");
    assert!(other.contains("SANDCASTLE_PROVIDER") && other.contains("docker"), "{other}");
    // The settings with which the SDKs use this server, still in the shell that starts it.
    let itself = refused(&[("E2B_API_KEY", "k"), ("E2B_API_URL", "http://localhost:3000")], "");
    assert!(itself.contains("own address") && itself.contains("SANDCASTLE_PROVIDER=local"), "{itself}");
    assert!(refused(&[("E2B_API_KEY", "k"), ("E2B_API_URL", "api.e2b.app")], "").contains("http://"));
}
