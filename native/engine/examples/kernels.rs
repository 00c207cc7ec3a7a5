use viva_tensor_engine::{backend::cpu::{matrix::*, simd::Level}, quant::Format};
fn main() {
    for level in Level::available().into_iter().take(1) { for format in Format::ALL {
        let (rows, cols) = (49152usize, if format.block_len()==256 {512} else {576});
        let mut m = Matrix::new(format, rows, cols).unwrap();
        let row: Vec<u8> = (0..m.row_bytes()).map(|i| (i * 37 % 60) as u8).collect();
        for r in 0..rows { m.set_row(r, &row); }
        if format == Format::F8E4m3 { m.set_scales(cols, |_,_| 1.0).unwrap(); }
        let m = &m;
        for t in [1usize, 128] {
            let x = vec![0.01f32; cols * t]; let mut y = vec![0f32; rows * t];
            let (xa, ya) = (x.as_ptr() as usize, y.as_mut_ptr() as usize);
            let mut best = f64::MAX;
            for _ in 0..(if t==1 {40} else {2}) {
                let start = std::time::Instant::now();
                std::thread::scope(|s| for th in 0..2 { s.spawn(move || {
                    let mut panel = vec![0f32; PANEL_FLOATS];
                    let n = m.tiles(); 
                    unsafe { m.multiply(level, n*th/2..n*(th+1)/2, Rows{at: xa as *const f32, stride: cols, count: t}, RowsMut{at: ya as *mut f32, stride: rows}, &mut panel) }
                });});
                best = best.min(start.elapsed().as_secs_f64());
            }
            println!("{:8} {:8} t={t:3} {:7.2} ms  {:6.1} GB/s {:7.1} GFLOP/s  smol-tok/s {:.0}", level.name(), format.name(), best*1e3, m.bytes() as f64/best/1e9, 2.0*(rows*cols*t) as f64/best/1e9, t as f64 / (best * 134.5e6/(rows*cols) as f64));
        }
    }}
}
