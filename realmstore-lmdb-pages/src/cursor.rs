//! Walking a tree, page by page.

use std::cmp::Ordering;

use crate::error::Fault;
use crate::header::Tree;
use crate::page::{Content, Node, Page, PageKind};
use crate::snapshot::Snapshot;

type Result<T> = std::result::Result<T, Fault>;

/// A place in a tree, or none: before the first step, and past either end.
///
/// Each page is compared with what its parents say about it: how deep it is,
/// and between which keys. So a page that is referred to twice is noticed,
/// and no walk goes in circles.
#[derive(Debug)]
pub(crate) struct Cursor<'s> {
    snapshot: &'s Snapshot<'s>,
    tree: Tree,
    path: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    page: Page,
    index: usize,
}

impl<'s> Cursor<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot<'s>, tree: Tree) -> Self {
        Self {
            snapshot,
            tree,
            path: Vec::new(),
        }
    }

    /// The leaf where it is and the index in it, if it is anywhere.
    pub(crate) fn leaf(&self) -> Option<(&Page, usize)> {
        self.path.last().map(|step| (&step.page, step.index))
    }

    /// To nowhere.
    pub(crate) fn leave(&mut self) {
        self.path.clear();
    }

    pub(crate) fn seek_first(&mut self) -> Result<()> {
        self.path.clear();
        self.descend(self.tree.root, |_| Ok(0))
    }

    pub(crate) fn seek_last(&mut self) -> Result<()> {
        self.path.clear();
        self.descend(self.tree.root, |page| Ok(page.len() - 1))
    }

    /// To the smallest key that is above a key, or `or_equal` to it.
    pub(crate) fn seek_least_above(&mut self, key: &[u8], or_equal: bool) -> Result<()> {
        self.seek_leaf(key, !or_equal)?;
        match self.path.last_mut() {
            Some(leaf) if leaf.index == leaf.page.len() => {
                leaf.index -= 1;
                self.advance()
            }
            _ => Ok(()),
        }
    }

    /// To the largest key that is below a key, or `or_equal` to it.
    pub(crate) fn seek_greatest_below(&mut self, key: &[u8], or_equal: bool) -> Result<()> {
        self.seek_leaf(key, or_equal)?;
        self.retreat()
    }

    /// To the leaf where a key belongs. The index is the number of keys there
    /// that are below it, or equal to it where those are to be passed over.
    fn seek_leaf(&mut self, key: &[u8], pass_equal: bool) -> Result<()> {
        self.path.clear();
        self.descend(self.tree.root, |page| {
            page.count_below(key, page.kind() == PageKind::Branch || pass_equal)
        })
    }

    /// To the next entry.
    pub(crate) fn advance(&mut self) -> Result<()> {
        while let Some(step) = self.path.last_mut() {
            if step.index + 1 < step.page.len() {
                step.index += 1;
                return self.descend_from_last(|_| Ok(0));
            }
            self.path.pop();
        }
        Ok(())
    }

    /// To the entry before.
    pub(crate) fn retreat(&mut self) -> Result<()> {
        while let Some(step) = self.path.last_mut() {
            if step.index > 0 {
                step.index -= 1;
                return self.descend_from_last(|page| Ok(page.len() - 1));
            }
            self.path.pop();
        }
        Ok(())
    }

    fn descend_from_last(
        &mut self,
        choose: impl Fn(&Page) -> std::result::Result<usize, &'static str>,
    ) -> Result<()> {
        let child = match self.path.last() {
            Some(step) if step.page.kind() == PageKind::Branch => child(&step.page, step.index)?,
            _ => return Ok(()),
        };
        self.descend(child, choose)
    }

    /// Down from a page to a leaf.
    fn descend(
        &mut self,
        mut number: u64,
        choose: impl Fn(&Page) -> std::result::Result<usize, &'static str>,
    ) -> Result<()> {
        if self.tree.is_empty() {
            return Ok(());
        }
        loop {
            let page = self.snapshot.page(number, self.tree.order)?;
            self.check_place(&page)?;
            let index = choose(&page).map_err(|what| entry_fault(&page, what))?;
            let next = match page.kind() {
                PageKind::Branch => Some(child(&page, index)?),
                PageKind::Leaf => None,
            };
            self.path.push(Step { page, index });
            match next {
                Some(next) => number = next,
                None => return Ok(()),
            }
        }
    }

    /// Checks a page against the path that led to it.
    fn check_place(&self, page: &Page) -> Result<()> {
        check_depth(page, self.path.len(), &self.tree)?;
        let mut lower = None;
        let mut upper = None;
        for step in self.path.iter().rev() {
            if lower.is_none() && step.index > 0 {
                lower = Some(node(&step.page, step.index)?.key);
            }
            if upper.is_none() && step.index + 1 < step.page.len() {
                upper = Some(node(&step.page, step.index + 1)?.key);
            }
        }
        check_keys(page, lower, upper)
    }
}

/// Checks that a page at a level, the root's being 0, is a leaf just where the
/// tree has its leaves.
pub(crate) fn check_depth(page: &Page, level: usize, tree: &Tree) -> Result<()> {
    let last = level + 1 >= usize::from(tree.depth);
    if last == (page.kind() == PageKind::Leaf) {
        return Ok(());
    }
    Err(Fault::page(
        page.number(),
        format!(
            "is {} at level {} of a tree of {}",
            match page.kind() {
                PageKind::Branch => "a branch",
                PageKind::Leaf => "a leaf",
            },
            level + 1,
            tree.depth
        ),
    ))
}

/// Checks that the keys of a page are those that its parents lead to: from
/// `lower` on and below `upper`.
pub(crate) fn check_keys(page: &Page, lower: Option<&[u8]>, upper: Option<&[u8]>) -> Result<()> {
    let outer = page.outer_keys().map_err(|what| entry_fault(page, what))?;
    let Some([first, last]) = outer else {
        return Ok(());
    };
    let order = page.order();
    if lower.is_some_and(|lower| order.compare(first, lower) == Ordering::Less)
        || upper.is_some_and(|upper| order.compare(last, upper) != Ordering::Less)
    {
        return Err(Fault::page(
            page.number(),
            "has keys that belong under another page",
        ));
    }
    Ok(())
}

/// A node of a page that was checked.
pub(crate) fn node(page: &Page, index: usize) -> Result<Node<'_>> {
    page.node(index).map_err(|what| entry_fault(page, what))
}

/// Where an entry of a branch leads.
pub(crate) fn child(page: &Page, index: usize) -> Result<u64> {
    match node(page, index)?.content {
        Content::Child(child) => Ok(child),
        _ => Err(Fault::page(page.number(), "is not a branch")),
    }
}

fn entry_fault(page: &Page, what: &str) -> Fault {
    Fault::page(page.number(), format!("has an entry {what}"))
}
