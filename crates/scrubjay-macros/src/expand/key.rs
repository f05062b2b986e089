//! The key of a call: as it is asked for, and its type.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{Expr, Lifetime, Type};

use super::{Expansion, ask, hidden, rename_self};
use crate::function::{Arg, mentions, own_self};
use crate::validate::lifetimes_of;

impl Arg {
    fn part(&self) -> TokenStream {
        let (name, target) = (&self.name, self.target());
        let reference = (!self.is_borrowed()).then(|| quote!(&));
        let part = match self.is_float() {
            true => quote!(Float),
            false => quote!(Borrowed),
        };
        quote_spanned!(self.ty.span()=> ::scrubjay::__private::#part::<#target>(#reference #name))
    }

    /// Whether an option may mention it, or a name in its pattern.
    pub(super) fn is_in(&self, expr: &Expr) -> bool {
        let Some(pattern) = &self.pattern else {
            return mentions(expr, &self.name.to_string());
        };
        let tokens = pattern.to_token_stream();
        crate::function::words_of(tokens)
            .iter()
            .any(|word| mentions(expr, word))
    }
}

impl Expansion<'_> {
    /// The question for the key of this call: what must be computed before, and the question.
    pub(super) fn asked(&self) -> (TokenStream, TokenStream) {
        let (before, parts) = match &self.options.key {
            Some(key) => self.parts_of(key),
            None => (
                TokenStream::new(),
                self.function.keyed().map(Arg::part).collect(),
            ),
        };
        let parts = one_or_tuple(&parts);
        (before, quote!(::scrubjay::__private::Asked(#parts)))
    }

    /// How many parts the key has.
    pub(super) fn arity(&self) -> usize {
        match &self.options.key {
            Some(key) => elements_of(key).len(),
            None => self.function.keyed().count(),
        }
    }

    /// The type of the key, if it can be written down.
    pub(super) fn key_type(&self) -> Option<TokenStream> {
        if self.options.key.is_some() {
            return None;
        }
        let types: Vec<TokenStream> = self.function.keyed().map(Arg::owned_type).collect();
        Some(one_or_tuple(&types))
    }

    /// A `PhantomData` of the type of the key.
    pub(super) fn key_witness(&self) -> TokenStream {
        match self.key_type() {
            Some(key) => quote!(::core::marker::PhantomData::<#key>),
            None => self.inferred_key(),
        }
    }

    /// The same by asking for the key of a call that never comes.
    fn inferred_key(&self) -> TokenStream {
        let lifetimes = lifetimes_of(self.function);
        let lets = self.function.args.iter().map(|arg| {
            let mut ty = arg.ty.clone();
            Anonymize(&lifetimes).visit_type_mut(&mut ty);
            let name = if arg.is_self {
                own_self()
            } else {
                arg.name.clone()
            };
            quote!(let #name: #ty = ::scrubjay::__private::never();)
        });
        let (before, asked) = self.asked();
        let (before, asked) = (rename_self(before), rename_self(asked));
        quote! {
            ::scrubjay::__private::type_of_key(
                #[allow(unused_variables)]
                || {
                    #(#lets)*
                    #before
                    (#asked).key_type()
                },
            )
        }
    }

    fn parts_of(&self, key: &Expr) -> (TokenStream, Vec<TokenStream>) {
        let mut before = TokenStream::new();
        let mut parts = Vec::new();
        for (index, element) in elements_of(key).into_iter().enumerate() {
            let mut value = element.to_token_stream();
            let computed = self.in_terms_of_arguments(element);
            if !is_place(element) || computed.to_string() != value.to_string() {
                let part = hidden(&format!("__part{index}"));
                before.extend(quote!(let #part = #computed;));
                value = part.into_token_stream();
            }
            parts.push(ask(3, &quote!(&#value), "part", element.span()));
        }
        (before, parts)
    }
}

fn elements_of(key: &Expr) -> Vec<&Expr> {
    match key {
        Expr::Tuple(tuple) => tuple.elems.iter().collect(),
        Expr::Paren(inner) => elements_of(&inner.expr),
        _ => vec![key],
    }
}

/// Whether an expression names something that is there, so that it is looked at where it is.
fn is_place(expr: &Expr) -> bool {
    match expr {
        Expr::Path(path) => path.qself.is_none() && path.path.segments.len() == 1,
        Expr::Field(field) => is_place(&field.base),
        Expr::Paren(inner) => is_place(&inner.expr),
        _ => false,
    }
}

fn one_or_tuple(parts: &[TokenStream]) -> TokenStream {
    match parts {
        [one] => one.clone(),
        _ => quote!((#(#parts),*)),
    }
}

/// Makes a function's own lifetimes anonymous, for types outside of its signature.
struct Anonymize<'a>(&'a [String]);

impl VisitMut for Anonymize<'_> {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if self.0.contains(&lifetime.ident.to_string()) {
            *lifetime = Lifetime::new("'_", lifetime.span());
        }
    }

    fn visit_type_mut(&mut self, ty: &mut Type) {
        syn::visit_mut::visit_type_mut(self, ty);
    }
}
