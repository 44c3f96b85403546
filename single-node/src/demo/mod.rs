//! The five stories of a purchase and the refusals, told as they happen: what is seen at the fridge, what the PCI zone
//! does, what the world outside is told. Everything shown is read from the running system; nothing is made up.

mod attested;
mod event;
mod scan;
mod screen;
mod stolen;
mod stories;

use std::time::Duration;

use crate::Fault;
use crate::layout::Layout;
use crate::stack::{OPERATOR, Stack};
use crate::world::World;
use screen::Screen;
use stories::Stage;

/// Starts the machine, tells the stories, says where everything is. `paced` leaves a reader time.
///
/// # Errors
/// [`Fault`] when a part does not start or a story does not end as it must.
pub async fn demo(layout: Layout, paced: bool) -> Result<Stack, Fault> {
    let world = World::demo()?;
    let screen = Screen::new(if paced { Duration::from_millis(450) } else { Duration::from_millis(120) });
    screen.title("Larder: unattended fridges that sell meals");
    screen.text("Starting both zones on this machine. Every service is a process of its own; all of them speak mutual TLS only.");
    let bar = screen.progress(10);
    let told = |what: &str| bar.step(what);
    let mut stack = Stack::start(layout, &told).await?;
    stack.start_enrolment(&told).await?;
    crate::load::load_once(&stack, &world, &told).await?;
    bar.done();
    let [first, second] = fridges(&world)?;
    let stage = Stage::at(&stack, &world, &screen, first, attested::tell(&stack, &screen, first).await?)?;
    let told = stage.tell().await;
    stage.close().await;
    told?;
    let second = Stage::at(&stack, &world, &screen, second, attested::changed(&stack, &screen, second).await?)?;
    stolen::tell(second, &stack, &screen).await?;
    what_it_contains(&stack, &screen).await?;
    what_it_cannot_contain(&stack, &world, &screen)?;
    Ok(stack)
}

/// The two fridges that the stories are played at.
fn fridges(world: &World) -> Result<[&str; 2], Fault> {
    match world.fridges.as_slice() {
        [first, second, ..] => Ok([&first.fridge, &second.fridge]),
        _ => Err(Fault::new("the world has too few fridges".to_owned())),
    }
}

/// Shows the first purchase's event, whole.
async fn what_it_contains(stack: &Stack, screen: &Screen) -> Result<(), Fault> {
    screen.title("What the world outside was told of the first purchase, whole");
    let event = event::first_purchase(stack.layout()).await?;
    let text = serde_json::to_string_pretty(&event).map_err(Fault::of("an event"))?;
    text.lines().for_each(|line| screen.text(line));
    Ok(())
}

/// Looks for every card number used above in every file the system wrote.
fn what_it_cannot_contain(stack: &Stack, world: &World, screen: &Screen) -> Result<(), Fault> {
    screen.title("What none of this contains");
    let cards = stories::cards_used(world);
    let found = scan::scan(stack.layout().root(), &cards)?;
    screen.line(
        "searched",
        &format!(
            "{} files, {} KiB: databases, write-ahead logs, logs, journals, configuration",
            found.files,
            found.bytes / 1_024
        ),
    );
    screen.line("control", "a planted copy was found first, so the search can find");
    screen.line("card numbers", &format!("{} of the {} cards used above", found.hits, cards.len()));
    if found.hits > 0 {
        return Err(Fault::new("a card number was found in a file; this must never happen".to_owned()));
    }
    screen.text(
        "A card is sealed at the reader to a key inside the HSM, opened in one buffer that is wiped, and known as a token ever after.",
    );
    Ok(())
}

/// Prints where to go from here.
pub fn farewell(stack: &Stack, stays_up: bool) {
    let screen = Screen::new(Duration::ZERO);
    screen.title("Try it");
    for name in ["inventory", "customers", "status", "admin", "purchase-session"] {
        screen.line(name, &format!("https://{}", stack.address(name).unwrap_or("?")));
    }
    let (certificate, key, bundle) = stack.issuer().files(&OPERATOR);
    let status = stack.address("status").unwrap_or("?");
    if stays_up {
        screen.text("As an operator, ask what was sold:");
        screen.command(&format!(
            "curl --cacert {} --cert {} --key {} https://{status}/sessions",
            bundle.display(),
            certificate.display(),
            key.display()
        ));
        screen.text("Everything stays up until you press Ctrl-C.");
    } else {
        screen.text("These addresses are gone now. To keep everything up and call it yourself:  ./run demo");
        screen.text("A day of trade:  ./run replay DAY --report DIR      The tests:  ./run test");
    }
}
