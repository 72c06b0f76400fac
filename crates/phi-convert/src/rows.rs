//! Rows that a file wants in another order than the folder has them. Blocks of a format lie within rows, so nothing is
//! lost by it, whatever the type.

/// Where rows lie in the folder. Those of a vector are its values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rows {
    /// As they are wanted.
    InOrder,
    /// Of each key head in turn its query heads, itself, and its value head, `head_dim` rows each. Wanted are all query
    /// heads, all key heads, all value heads.
    Grouped {
        /// Query heads.
        n_head: u64,
        /// Key heads, which divide them.
        n_head_kv: u64,
        /// Rows of a head.
        head_dim: u64,
    },
    /// Two kinds in turn. Wanted are all of the first, then all of the second.
    Alternating,
}

impl Rows {
    /// Where row `row` of `rows` lies, and how many from there on lie as they are wanted, itself included.
    pub(crate) fn find(self, row: u64, rows: u64) -> (u64, u64) {
        match self {
            Rows::InOrder => (row, rows - row),
            Rows::Grouped { n_head, n_head_kv, head_dim } => {
                let (head, within) = (row / head_dim, row % head_dim);
                let group = n_head / n_head_kv;
                let (g, place) = if head < n_head {
                    (head / group, head % group)
                } else {
                    ((head - n_head) % n_head_kv, group + (head - n_head) / n_head_kv)
                };
                ((g * (group + 2) + place) * head_dim + within, head_dim - within)
            }
            Rows::Alternating => {
                let half = rows / 2;
                (row % half * 2 + row / half, 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(order: Rows, rows: u64) -> Vec<u64> {
        let mut found = Vec::new();
        while (found.len() as u64) < rows {
            let (from, run) = order.find(found.len() as u64, rows);
            found.extend(from..from + run);
        }
        found
    }

    #[test]
    fn rows_are_found_where_they_lie() {
        assert_eq!(all(Rows::InOrder, 3), [0, 1, 2]);
        // Two key heads with two query heads each, two rows a head: q0 q1 k0 v0, q2 q3 k1 v1.
        let grouped = Rows::Grouped { n_head: 4, n_head_kv: 2, head_dim: 2 };
        assert_eq!(all(grouped, 16), [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15]);
        assert_eq!(grouped.find(3, 16), (3, 1));
        assert_eq!(all(Rows::Alternating, 6), [0, 2, 4, 1, 3, 5]);
    }
}
