//! The vault and its HSM: whose keys it takes, and what it does when the HSM goes away, comes back, or is someone
//! else's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass},
    session::{Session, UserType},
    types::AuthPin,
};
use pci_vault::{KeyError, OpenError, Vault, VaultError, VaultFault, VaultHealth};
use support::{NOW_UNIX_S, PLAN, VISA, block_on, config, config_with, context, open, seal, token_of, until, vault};
use test_token::{TestToken, in_own_process};
use tokio::task::JoinSet;

/// Lets `body` loose on the token beside any vault; none may be running.
fn with_session<R>(token: &TestToken, body: impl FnOnce(&Session) -> R) -> R {
    let pkcs11 = Pkcs11::new(token.module()).expect("SoftHSM");
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("it is not in use");
    let slot = pkcs11.get_slots_with_initialized_token().expect("slots")[0];
    let session = pkcs11.open_rw_session(slot).expect("a session");
    session.login(UserType::User, Some(&AuthPin::from(token.pin()))).expect("a login");
    let result = body(&session);
    drop(session);
    pkcs11.finalize().expect("it finalizes");
    result
}

fn all_keys() -> [Attribute; 1] {
    [Attribute::Token(true)]
}

fn token_key(extra: &[Attribute]) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Token(true),
        Attribute::Label(b"larder-pci-token-1".to_vec()),
        Attribute::Private(true),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::ValueLen(32.into()),
        Attribute::Sign(true),
    ];
    template.extend_from_slice(extra);
    template
}

const STRONG: [Attribute; 8] = [
    Attribute::Sensitive(true),
    Attribute::Extractable(false),
    Attribute::Derive(false),
    Attribute::Verify(false),
    Attribute::Encrypt(false),
    Attribute::Decrypt(false),
    Attribute::Wrap(false),
    Attribute::Unwrap(false),
];

fn refusal(token: &TestToken) -> KeyError {
    match Vault::start(config(token)) {
        Err(VaultError::Key(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the vault started"),
    }
}

#[test]
fn keys_are_made_once_and_never_leave() {
    in_own_process("keys", |token| {
        let public = vault(token).sealing_key();
        assert_eq!(vault(token).sealing_key(), public, "a restart finds what the first start made");
        with_session(token, |session| {
            let objects = session.find_objects(&all_keys()).expect("a search");
            assert_eq!(objects.len(), 3, "a pair and a secret, and no copies");
            for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
                let found = session.find_objects(&[Attribute::Class(class)]).expect("a search");
                let asked = [AttributeType::AlwaysSensitive, AttributeType::NeverExtractable, AttributeType::Value];
                let answers = session.get_attributes(found[0], &asked).expect("answers");
                assert!(answers.contains(&Attribute::AlwaysSensitive(true)));
                assert!(answers.contains(&Attribute::NeverExtractable(true)));
                assert!(!answers.iter().any(|answer| matches!(answer, Attribute::Value(value) if !value.is_empty())));
            }
        });
    });
}

/// Puts a fresh token of the same label in the place of the token, and gives the old one's folder.
fn swap(token: &TestToken, aside: &str) -> PathBuf {
    let fresh = TestToken::create(token.label()).expect("a token");
    let aside = token.directory().join(aside);
    fs::rename(token.token_directory(), &aside).expect("moved away");
    fs::rename(fresh.token_directory(), token.token_directory()).expect("moved in");
    aside
}

#[test]
fn a_key_weaker_than_planned_stops_the_start() {
    in_own_process("weak", |token| {
        for (position, weakness, rule) in [
            (0, Attribute::Sensitive(false), "it is not sensitive"),
            (1, Attribute::Extractable(true), "it is extractable"),
            (2, Attribute::Derive(true), "it allows or lacks derivation"),
            (4, Attribute::Encrypt(true), "it encrypts"),
            (7, Attribute::Unwrap(true), "it unwraps"),
        ] {
            swap(token, rule);
            let mut template = STRONG;
            template[position] = weakness;
            with_session(token, |session| {
                session.generate_key(&Mechanism::GenericSecretKeyGen, &token_key(&template)).expect("a weak key")
            });
            let refused = refusal(token);
            assert!(matches!(&refused, KeyError::Weak { rule: said, .. } if *said == rule), "{rule}: {refused}");
        }
    });
}

#[test]
fn a_key_brought_in_from_outside_stops_the_start() {
    in_own_process("outside", |token| {
        with_session(token, |session| {
            let mut template = token_key(&STRONG);
            template.retain(|attribute| !matches!(attribute, Attribute::ValueLen(_)));
            template.extend([Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Value(vec![7; 32])]);
            session.create_object(&template).expect("an imported key");
        });
        assert!(matches!(refusal(token), KeyError::Weak { .. }));
    });
}

#[test]
fn two_keys_of_one_name_stop_the_start() {
    in_own_process("twins", |token| {
        with_session(token, |session| {
            for _ in 0..2 {
                session.generate_key(&Mechanism::GenericSecretKeyGen, &token_key(&STRONG)).expect("a key");
            }
        });
        let refused = refusal(token);
        assert!(matches!(refused, KeyError::Ambiguous { found: 2, .. }), "{refused}");
    });
}

#[test]
fn a_public_half_that_is_missing_or_another_keys_stops_the_start() {
    in_own_process("halves", |token| {
        drop(vault(token));
        let public = [Attribute::Class(ObjectClass::PUBLIC_KEY)];
        with_session(token, |session| {
            let found = session.find_objects(&public).expect("a search");
            session.destroy_object(found[0]).expect("destroyed");
        });
        let missing = refusal(token);
        assert!(matches!(missing, KeyError::Missing(_)), "{missing}");
        with_session(token, |session| {
            let p256 = vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
            let named =
                [Attribute::Token(true), Attribute::Label(b"larder-pci-seal-1".to_vec()), Attribute::EcParams(p256)];
            session
                .generate_key_pair(&Mechanism::EccKeyPairGen, &named, &[Attribute::Token(false)])
                .expect("another pair");
        });
        let foreign = refusal(token);
        assert!(matches!(foreign, KeyError::Weak { rule: "its public half is another key's", .. }), "{foreign}");
    });
}

#[test]
fn keys_that_may_not_be_copied_work_as_well() {
    in_own_process("plain", |token| {
        let plan = PLAN.replace("copyable = true", "copyable = false");
        let plain = Vault::start(config_with(token, &plan)).expect("a vault");
        let visa = token_of(&plain, VISA);
        drop(plain);
        with_session(token, |session| {
            for key in session.find_objects(&[Attribute::Private(true)]).expect("a search") {
                assert!(session.copy_object(key, &[Attribute::Token(false)]).is_err(), "the HSM refuses copies");
            }
        });
        // The plan now says copyable, the HSM says no: the key itself is used.
        assert_eq!(token_of(&vault(token), VISA), visa);
    });
}

#[test]
fn what_is_wrong_at_the_start_is_said_and_leaves_the_module_free() {
    in_own_process("start", |token| {
        let start = |change: &dyn Fn(&mut pci_vault::VaultConfig)| {
            let mut config = config(token);
            change(&mut config);
            Vault::start(config)
        };
        assert!(matches!(start(&|config| config.module = "/no/such/module.so".into()), Err(VaultError::Hsm(_))));
        assert!(matches!(start(&|config| config.token_label = "elsewhere".into()), Err(VaultError::Hsm(_))));
        assert!(matches!(start(&|config| *config.pin = "000000".into()), Err(VaultError::Hsm(_))));
        let no_lock = start(&|config| config.lock_file = "/no/such/folder/lock".into());
        assert!(matches!(no_lock, Err(VaultError::Key(KeyError::Lock(_)))));
        let first = start(&|_| ()).expect("a vault");
        assert!(matches!(start(&|_| ()), Err(VaultError::Hsm(_))), "the module belongs to the first");
        assert!(open(&first, VISA).is_ok(), "which does not notice");
    });
}

#[test]
fn the_queue_is_bounded() {
    in_own_process("queue", |token| {
        let mut config = config(token);
        (config.threads, config.queue) = (1, 2);
        let vault = Arc::new(Vault::start(config).expect("a vault"));
        let card = seal(&vault.sealing_key(), &context(1), VISA);
        let (opened, busy) = block_on(async {
            let mut asked = JoinSet::new();
            for _ in 0..500 {
                let (vault, card) = (Arc::clone(&vault), card.clone());
                asked.spawn(async move { vault.open(card, context(1), NOW_UNIX_S).await.map(drop) });
            }
            let answers = asked.join_all().await;
            let count = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
            (count(Ok(())), count(Err(OpenError::Fault(VaultFault::Busy))))
        });
        assert!(opened >= 2 && busy > 0, "{opened} opened, {busy} refused");
        assert_eq!(opened + busy, 500, "every card is answered");
        assert!(open(&vault, VISA).is_ok(), "and then there is room again");
    });
}

#[test]
fn recycling_under_load_loses_nothing() {
    in_own_process("recycle", |token| {
        let mut config = config(token);
        config.recycle_after = 40;
        let vault = Arc::new(Vault::start(config).expect("a vault"));
        let expected = token_of(&vault, VISA);
        let card = seal(&vault.sealing_key(), &context(1), VISA);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let answers = runtime.expect("a runtime").block_on(async {
            let mut tasks = JoinSet::new();
            for _ in 0..8 {
                let (vault, card) = (Arc::clone(&vault), card.clone());
                tasks.spawn(async move {
                    let mut tokens = Vec::new();
                    for round in 0..100 {
                        let opened = vault.open(card.clone(), context(1), NOW_UNIX_S).await.expect("none fails");
                        tokens.push(opened.card.token.to_string());
                        if round == 50 {
                            vault.recycle();
                        }
                    }
                    tokens
                });
            }
            tasks.join_all().await.concat()
        });
        assert_eq!(answers.len(), 800);
        assert!(answers.iter().all(|token| *token == expected));
        assert!(vault.watch().borrow().generation > 15, "{:?}", *vault.watch().borrow());
        assert_eq!(vault.health(), VaultHealth::Ready);
    });
}

#[test]
fn an_hsm_that_goes_away_refuses_and_one_that_comes_back_works() {
    in_own_process("lost", |token| {
        let vault = vault(token);
        let visa = token_of(&vault, VISA);
        let card = seal(&vault.sealing_key(), &context(1), VISA);
        let aside = token.directory().join("aside");
        block_on(async {
            for _ in 0..2 {
                fs::rename(token.token_directory(), &aside).expect("taken away");
                vault.recycle();
                until(&vault, VaultHealth::Recovering).await;
                let asked = vault.open(card.clone(), context(1), NOW_UNIX_S);
                let answer = tokio::time::timeout(Duration::from_millis(100), asked).await.expect("at once");
                assert_eq!(answer.expect_err("there is no HSM"), OpenError::Fault(VaultFault::Lost));
                fs::rename(&aside, token.token_directory()).expect("put back");
                until(&vault, VaultHealth::Ready).await;
                let opened = vault.open(card.clone(), context(1), NOW_UNIX_S).await.expect("it is back");
                assert_eq!(opened.card.token.as_str(), visa);
            }
        });
    });
}

#[test]
fn an_hsm_that_comes_back_empty_or_with_other_keys_is_not_believed() {
    in_own_process("other", |token| {
        // Another HSM of the same label, with keys of the same names.
        let mine = swap(token, "mine");
        drop(vault(token));
        let others = token.directory().join("others");
        fs::rename(token.token_directory(), &others).expect("moved away");
        fs::rename(&mine, token.token_directory()).expect("moved in");

        let vault = vault(token);
        let visa = token_of(&vault, VISA);
        let card = seal(&vault.sealing_key(), &context(1), VISA);
        let empty = TestToken::create(token.label()).expect("a token");
        block_on(async {
            for impostor in [others, empty.token_directory()] {
                fs::rename(token.token_directory(), &mine).expect("moved away");
                fs::rename(&impostor, token.token_directory()).expect("moved in");
                vault.recycle();
                until(&vault, VaultHealth::Recovering).await;
                let asked = vault.open(card.clone(), context(1), NOW_UNIX_S).await;
                assert_eq!(asked.expect_err("a stranger"), OpenError::Fault(VaultFault::Lost));
                fs::rename(token.token_directory(), &impostor).expect("moved away");
                fs::rename(&mine, token.token_directory()).expect("moved in");
                until(&vault, VaultHealth::Ready).await;
            }
        });
        assert_eq!(token_of(&vault, VISA), visa);
    });
}

#[test]
fn a_start_with_another_hsm_than_before_is_refused_and_makes_nothing_in_it() {
    in_own_process("replaced", |token| {
        let first = vault(token);
        let (known, visa) = (first.key_checks().to_vec(), token_of(&first, VISA));
        drop(first);
        let labels: Vec<_> = known.iter().map(|check| check.label.as_str()).collect();
        assert_eq!(labels, ["larder-pci-seal-1", "larder-pci-token-1"]);
        let again = |plan: &str| {
            let mut config = config_with(token, plan);
            config.known.clone_from(&known);
            Vault::start(config)
        };
        assert_eq!(again(PLAN).expect("the same keys").key_checks(), known);

        let mine = swap(token, "mine");
        let empty = again(PLAN).err().expect("an empty token of the same label");
        assert!(matches!(empty, VaultError::Key(KeyError::Another(_))), "{empty}");
        with_session(token, |session| {
            assert!(session.find_objects(&all_keys()).expect("a search").is_empty(), "no key was made in it");
        });
        // Another HSM, whose keys have the same names.
        drop(vault(token));
        let other = again(PLAN).err().expect("other keys");
        assert!(matches!(other, VaultError::Key(KeyError::Another(_))), "{other}");
        assert!(other.to_string().contains("give the service back the token it had"), "{other}");

        fs::remove_dir_all(token.token_directory()).expect("thrown away");
        fs::rename(&mine, token.token_directory()).expect("put back");
        let rotated = again(&support::rotated("token")).expect("a new key of the plan is made as ever");
        assert_eq!(rotated.key_checks().len(), 3);
        assert_eq!(open(&rotated, VISA).expect("it opens").earlier_tokens[0].to_string(), visa);
    });
}

#[test]
fn a_key_that_alone_is_another_is_found() {
    in_own_process("one", |token| {
        let mut known = vault(token).key_checks().to_vec();
        for position in 0..known.len() {
            let right = std::mem::replace(&mut known[position].value, "0000000000000000".to_owned());
            let mut config = config(token);
            config.known.clone_from(&known);
            let refused = Vault::start(config).err().expect("another key");
            assert!(
                matches!(&refused, VaultError::Key(KeyError::Another(label)) if *label == known[position].label),
                "{refused}"
            );
            known[position].value = right;
        }
        assert_eq!(vault(token).key_checks(), known);
    });
}

#[test]
fn a_vault_that_goes_answers_those_who_wait() {
    in_own_process("goes", |token| {
        let vault = Arc::new(vault(token));
        let card = seal(&vault.sealing_key(), &context(1), VISA);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let opening = |vault: Arc<Vault>| async move {
                let answer = vault.open(card, context(1), NOW_UNIX_S).await.map(drop);
                drop(vault);
                answer
            };
            let asked = tokio::spawn(opening(Arc::clone(&vault)));
            drop(vault);
            assert_eq!(asked.await.expect("no panic"), Ok(()), "work at hand is finished");
        });
        assert!(with_session(token, |session| session.get_session_info().is_ok()), "and the module is free");
    });
}

/// Lets `body` loose on a module that a vault of this process has open: what a device does when nobody asked it to.
fn behind_the_vaults_back<R>(token: &TestToken, body: impl FnOnce(&Pkcs11, &Session) -> R) -> R {
    let pkcs11 = Pkcs11::new(token.module()).expect("SoftHSM");
    let slot = pkcs11.get_slots_with_initialized_token().expect("slots")[0];
    let session = pkcs11.open_rw_session(slot).expect("a session");
    body(&pkcs11, &session)
}

/// The answer to a failed card comes before the device is called lost, so health alone does not tell.
async fn opened_again(vault: &Vault) {
    let mut status = vault.watch();
    let reached = status.wait_for(|status| status.generation > 1);
    tokio::time::timeout(Duration::from_secs(30), reached).await.expect("in time").expect("the vault lives");
}

#[test]
fn a_device_that_fails_at_work_is_noticed_refused_and_brought_back() {
    in_own_process("fails", |token| {
        let vault = vault(token);
        let visa = token_of(&vault, VISA);
        // Logging out takes every session object away, as a device does that was reset.
        behind_the_vaults_back(token, |_, session| session.logout().expect("logged out"));
        let failed = open(&vault, VISA).expect_err("the keys are gone");
        assert_eq!(failed, OpenError::Fault(VaultFault::Hsm));
        block_on(opened_again(&vault));
        assert_eq!(token_of(&vault, VISA), visa);
        assert_eq!(vault.watch().borrow().generation, 2);
    });
}

#[test]
fn a_module_that_was_finalized_is_opened_anew() {
    in_own_process("finalized", |token| {
        let vault = vault(token);
        let visa = token_of(&vault, VISA);
        Pkcs11::new(token.module()).expect("SoftHSM").finalize().expect("finalized");
        assert_eq!(open(&vault, VISA).expect_err("the module is gone"), OpenError::Fault(VaultFault::Hsm));
        block_on(opened_again(&vault));
        assert_eq!(token_of(&vault, VISA), visa);
    });
}

#[test]
fn one_failure_of_a_device_that_still_answers_is_no_loss_and_three_in_a_row_are() {
    in_own_process("thrice", |token| {
        let mut config = config(token);
        config.threads = 1;
        let vault = Vault::start(config).expect("a vault");
        let visa = token_of(&vault, VISA);
        // Without the sealing key's session copy every card fails, while the token key still does its work.
        behind_the_vaults_back(token, |_, session| {
            let copy = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(false)];
            let found = session.find_objects(&copy).expect("a search");
            assert_eq!(found.len(), 1, "the vault works with a session copy");
            session.destroy_object(found[0]).expect("destroyed");
        });
        let mut status = vault.watch();
        status.mark_unchanged();
        for _ in 0..2 {
            assert_eq!(open(&vault, VISA).expect_err("it fails"), OpenError::Fault(VaultFault::Hsm));
        }
        assert!(!status.has_changed().expect("the vault lives"), "two failures are no loss");
        assert_eq!(open(&vault, VISA).expect_err("it fails"), OpenError::Fault(VaultFault::Hsm));
        block_on(opened_again(&vault));
        assert_eq!(token_of(&vault, VISA), visa);
    });
}

#[test]
fn an_answer_is_not_waited_for_for_ever() {
    in_own_process("late", |token| {
        let mut config = config(token);
        (config.threads, config.answer_within_ms) = (1, 1);
        let vault = Arc::new(Vault::start(config).expect("a vault"));
        let card = seal(&vault.sealing_key(), &context(1), VISA);
        let answers = block_on(async {
            let mut asked = JoinSet::new();
            for _ in 0..500 {
                let (vault, card) = (Arc::clone(&vault), card.clone());
                asked.spawn(async move { vault.open(card, context(1), NOW_UNIX_S).await.map(drop) });
            }
            asked.join_all().await
        });
        let late = answers.iter().filter(|answer| **answer == Err(OpenError::Fault(VaultFault::Late))).count();
        assert!(late > 0, "500 cards take longer than a millisecond");
        assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(OpenError::Fault(VaultFault::Late)))));
        assert_eq!(vault.health(), VaultHealth::Ready, "a slow HSM is not a lost one");
    });
}

#[test]
fn processes_that_start_at_once_make_one_set_of_keys() {
    const RACER: &str = "VAULT_TEST_RACER";
    in_own_process("race", |token| {
        if let Ok(number) = std::env::var(RACER) {
            let visa = token_of(&vault(token), VISA);
            fs::write(token.directory().join(format!("racer-{number}")), visa).expect("written");
            return;
        }
        let racer = |number: u32| {
            let mut command = std::process::Command::new(std::env::current_exe().expect("this test"));
            command.args(std::env::args().skip(1)).env(RACER, number.to_string());
            command.stdout(std::process::Stdio::null()).spawn().expect("a process")
        };
        let racers: Vec<_> = (0..4).map(racer).collect();
        for mut racer in racers {
            assert!(racer.wait().expect("it ends").success());
        }
        let said = |number| fs::read_to_string(token.directory().join(format!("racer-{number}"))).expect("an answer");
        assert!((1..4).all(|number| said(number) == said(0)), "all found the same token key");
        with_session(token, |session| assert_eq!(session.find_objects(&all_keys()).expect("a search").len(), 3));
    });
}
