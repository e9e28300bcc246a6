//! Keys, views and encoding, one by one.

fn main() {
    divan::main();
}
