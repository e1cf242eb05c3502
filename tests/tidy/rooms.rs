//! Who may do what in `src/scheduler`: its components own their state.

use std::collections::BTreeSet;

use proc_macro2::TokenTree;
use syn::visit::Visit;

use crate::sources::{Source, sources_below};

const SCHEDULER: &str = "ProcessScheduler";
const FIELDS_MAX: usize = 15;

/// Where the scheduler itself may have methods: its turn, how it is built, its deadlines, its end,
/// and what a host can see of it, or change.
const FILES: [&str; 9] = [
    "mod.rs",
    "builder.rs",
    "deadline.rs",
    "ending.rs",
    "operator.rs",
    "outputs.rs",
    "planning.rs",
    "reload.rs",
    "snapshot.rs",
];

/// The methods that give the machine an event or the time.
const DOORS: [&str; 2] = ["handle", "handle_timeout"];

/// What was found against the rules, in one file.
struct Rooms<'a> {
    source: &'a Source,
    /// The type whose methods are read, and the method.
    owner: String,
    function: String,
    fields: Option<usize>,
    offenders: BTreeSet<String>,
}

impl Rooms<'_> {
    fn complain(&mut self, what: &str) {
        let path = self.source.path.display();
        self.offenders.insert(format!("{path}: {what}"));
    }
}

fn name_of(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(String::new, |last| last.ident.to_string()),
        _ => String::new(),
    }
}

impl<'ast> Visit<'ast> for Rooms<'_> {
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.owner = name_of(&item.self_ty);
        let is_home = FILES
            .iter()
            .any(|file| self.source.path == std::path::Path::new("src/scheduler").join(file));
        if self.owner == SCHEDULER && !is_home {
            self.complain("impl ProcessScheduler");
        }
        syn::visit::visit_item_impl(self, item);
        self.owner.clear();
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function = function.sig.ident.to_string();
        syn::visit::visit_impl_item_fn(self, function);
        self.function.clear();
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let is_machine = match &*call.receiver {
            syn::Expr::Field(field) => {
                matches!(&field.member, syn::Member::Named(name) if name == "machine")
            }
            syn::Expr::Path(path) => path.path.is_ident("machine"),
            _ => false,
        };
        let method = call.method.to_string();
        let is_allowed =
            self.owner == "Core" && ["apply", "handle_timeout"].contains(&&*self.function);
        if is_machine && DOORS.contains(&&*method) && !is_allowed {
            self.complain(&format!("machine.{method} outside of Core::apply"));
        }
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        if item.ident == SCHEDULER {
            self.fields = Some(item.fields.len());
        }
        for field in &item.fields {
            if let syn::Visibility::Restricted(visibility) = &field.vis
                && visibility.path.is_ident("super")
            {
                let name = field
                    .ident
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string);
                self.complain(&format!("{}.{name} is pub(super)", item.ident));
            }
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        // Unit tests may look inside.
        if module.ident != "tests" {
            syn::visit::visit_item_mod(self, module);
        }
    }
}

#[test]
fn components_own_their_state() {
    let mut offenders = BTreeSet::new();
    let mut fields = None;
    for source in sources_below("src") {
        if source.path.ends_with("tests.rs") || !is_near(&source) {
            continue;
        }
        let file = syn::parse_file(&source.text).expect("Rust");
        let mut rooms = Rooms {
            source: &source,
            owner: String::new(),
            function: String::new(),
            fields: None,
            offenders: BTreeSet::new(),
        };
        rooms.visit_file(&file);
        if source.tokens.iter().any(is_cell) {
            rooms.complain("RefCell");
        }
        fields = fields.or(rooms.fields);
        offenders.extend(rooms.offenders);
    }
    match fields {
        Some(fields) if fields > FIELDS_MAX => {
            offenders.insert(format!("{SCHEDULER} has {fields} fields, of {FIELDS_MAX}"));
        }
        Some(_) => {}
        None => panic!("there is no struct {SCHEDULER}"),
    }
    let offenders: Vec<String> = offenders.into_iter().collect();
    assert!(offenders.is_empty(), "\n  {}", offenders.join("\n  "));
}

/// True if it is a part of the scheduler.
fn is_near(source: &Source) -> bool {
    source.path.starts_with("src/scheduler") || source.path.ends_with("src/scheduler.rs")
}

fn is_cell(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == "RefCell")
}
