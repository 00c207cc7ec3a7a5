// How the linears' operands lie in memory, and what a product is given.
//
//   W        panels of 128 rows; a panel is pieces of 16 bytes a row, piece after piece: [rows / 128][pieces][128][16]. Eight
//            rows of a piece are 128 bytes behind each other: what a tensor core reads at once, and what a warp reads at once
//   x        panels of P rows (8, 128 or 256); [rows / P][128 bytes of columns][P][128], the 16-byte pieces of a row exchanged by
//            its number, which is what wgmma calls a 128-byte swizzle
//   places   of two-of-four W: u32 [rows / 128][columns / 128][8 warps][32 lanes][2]: what `mma_s8_sparse` takes of a lane for each of
//            the two 64 columns
//
// Columns are padded with zeros to 128 bytes of x. The one surprise: INT4 2:4 keeps the codes 4 t .. 4 t + 3 of 32 in the low
// nibbles of word t and 16 + 4 t .. in its high ones. Shifted to the upper half of a byte a nibble is 16 times its code, so
// unpacking is two operations for eight weights, and products are divided by 16, exactly.

#define PANEL_ROWS 128

DEV u64 piece_at(u32 row, u32 piece, u32 pieces) { return (((u64)(row / PANEL_ROWS) * pieces + piece) * PANEL_ROWS + row % PANEL_ROWS) * 16; }
DEV u64 input_at(u32 row, u32 piece, u32 pieces, u32 panel) {
  u32 r = row % panel;
  return ((u64)(row / panel) * (pieces / 8) + piece / 8) * panel * 128 + r * 128 + ((piece % 8 ^ r % 8) << 4);
}

struct PanelProduct {
  // Panels of W and its places, x's panels.
  const u8* w;
  const u32* places;
  const u8* x;
  // Of W's rows, of x's rows; what every sum is multiplied by, and W's rows' bias or null.
  const float *w_scales, *x_scales, *bias;
  float* y;
  u32 rows, count, y_stride;
  // 128 bytes of x's columns each.
  u32 steps;
  // 0 y = p, 1 y += p, 3 y = act(p), 5 y *= p
  u32 mode, activation, scale_cols, scale_blocks;
  float factor;
  // Of x's rows as they are: elements, and whether these are bf16.
  u32 inputs, is_bf16;
};

DEV float panel_scaled(const PanelProduct& p, float sum, float w_scale, float x_scale, float bias) {
  return __fadd_rn(__fmul_rn(__fmul_rn(sum, __fmul_rn(w_scale, p.factor)), x_scale), bias);
}
DEV void panel_finish(const PanelProduct& p, float* at, float value) {
  switch (p.mode) {
    case 0: *at = value; break;
    case 1: *at = __fadd_rn(*at, value); break;
    case 3: *at = activate(p.activation, value); break;
    default: *at = __fmul_rn(*at, value);
  }
}
