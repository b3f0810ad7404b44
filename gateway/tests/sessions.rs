//! Sessions over real TCP: the good path first, then each bad act and its exact answer.

mod exchange;

use std::time::Duration;

use exahour_gateway::client::{Client, ClientEvent, TypedReport};
use exahour_wire::ids::MessageSequence;

use exchange::{Rig, config, order};

#[test]
fn an_order_goes_in_and_its_report_comes_back() {
    let rig = Rig::start();
    let mut client = Client::connect(rig.address, config(1)).unwrap();
    for name in 1..=1_000 {
        assert_eq!(
            client.send(&order(name, 1, 0)).unwrap(),
            MessageSequence(name as u32)
        );
        match client.wait(Duration::from_secs(20)).unwrap() {
            Some(ClientEvent::Report(report)) => match report.typed() {
                TypedReport::Accepted(accepted) => {
                    assert_eq!(accepted.client_order_id.0, name);
                    assert_eq!(accepted.sequence.0, name as u32);
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
    client.terminate().unwrap();
    assert_eq!(
        rig.told.orders.load(std::sync::atomic::Ordering::SeqCst),
        1_000
    );
}
