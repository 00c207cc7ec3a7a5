//// Values under keys: Erlang's maps, and tuples that are read by place.

pub type Table(key, value)

/// A fixed list whose values are found by place.
pub type Row(value)

@external(erlang, "maps", "from_list")
pub fn from_list(pairs: List(#(key, value))) -> Table(key, value)

@external(erlang, "maps", "to_list")
pub fn to_list(table: Table(key, value)) -> List(#(key, value))

@external(erlang, "viva_tensor_beam_ffi", "find")
fn ffi_find(key: key, table: Table(key, value)) -> Result(value, Nil)

pub fn get(table: Table(key, value), key: key) -> Result(value, Nil) {
  ffi_find(key, table)
}

@external(erlang, "maps", "put")
fn maps_put(key: k, value: v, table: Table(k, v)) -> Table(k, v)

pub fn put(table: Table(k, v), key: k, value: v) -> Table(k, v) {
  maps_put(key, value, table)
}

@external(erlang, "maps", "merge")
pub fn merge(one: Table(k, v), other: Table(k, v)) -> Table(k, v)

@external(erlang, "maps", "size")
pub fn size(table: Table(k, v)) -> Int

@external(erlang, "erlang", "list_to_tuple")
pub fn row(values: List(value)) -> Row(value)

@external(erlang, "viva_tensor_beam_ffi", "pick")
pub fn pick(row: Row(value), place: Int) -> Result(value, Nil)
