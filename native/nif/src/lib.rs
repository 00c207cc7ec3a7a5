//! The engine as a NIF.
rustler::init!("viva_tensor_nif");
