//! Model and contracts together, in the embedded EVM.

mod accomplice;
mod books;
mod extremes;
mod frauds;
mod hostile;
mod hostile_cash;
mod hostile_channels;
mod hostile_collector;
mod hostile_revenue;
mod kept;
mod locks;
mod lockstep;
mod lockstep_spend;
mod lost_keys;
mod node;
mod price_list;
mod purse;
mod story;
mod thief;
mod treasury;
mod vault;
mod vouchers;
mod world;
