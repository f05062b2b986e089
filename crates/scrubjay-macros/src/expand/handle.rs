//! What stands beside a memoized function: a type of its name, or beside a method a function.
//!
//! A type and not a module, because only a type can be generic, and can stand inside a function and name types
//! of that function.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{GenericParam, Generics, Ident, Lifetime, WherePredicate};

use super::{Expansion, hidden};

/// What generated items need not comply with.
fn allowed() -> TokenStream {
    quote! {
        #[allow(
            dead_code,
            non_camel_case_types,
            non_snake_case,
            missing_debug_implementations,
            unreachable_pub,
            private_interfaces,
            private_bounds,
            clippy::all,
            clippy::pedantic
        )]
    }
}

impl Expansion<'_> {
    /// The handle of a function: an empty type.
    pub(super) fn handle(&self) -> TokenStream {
        let item = self.function.item;
        let (vis, ident) = (&item.vis, &item.sig.ident);
        let generics = self.free_generics();
        let (params, args, bounds) = generics.split_for_impl();
        let impl_bounds = self.bounds_of_parts(&generics);
        let (allowed, cfgs) = (allowed(), self.cfgs());
        let body = self.stored();
        let types = self
            .type_params()
            .into_iter()
            .filter(|param| !is_const(param))
            .map(name_of);
        let witness = (!generics.params.is_empty()).then(|| {
            quote! {
                #[doc(hidden)]
                __Instance(::core::convert::Infallible, #(::core::marker::PhantomData<fn(*const #types)>),*)
            }
        });
        let (methods, load) = (self.handle_methods(), self.load_function());
        let doc = format!(
            "The handle of the memoized function [`{ident}`](fn@{ident}): the way to its cache."
        );
        let signature = self.cache_signature(&format_ident!("cache"), &Generics::default());
        quote! {
            #(#cfgs)*
            #[doc = #doc]
            #allowed
            #vis enum #ident #params #bounds { #witness }

            #(#cfgs)*
            #allowed
            impl #params #ident #args #impl_bounds {
                /// Returns the cache of the function.
                #[inline]
                #vis #signature { #body }
                #methods
                #load
            }
        }
    }

    /// The bounds of a generic function, and that the parts of its key can be a key: so that it is complained of
    /// once, and at the argument, if they cannot.
    fn bounds_of_parts(&self, generics: &Generics) -> TokenStream {
        let bounds = generics
            .where_clause
            .iter()
            .flat_map(|clause| &clause.predicates);
        let parts = self
            .function
            .keyed()
            .filter(|_| self.options.key.is_none())
            .map(|arg| {
                let part = arg.owned_type();
                quote_spanned!(arg.ty.span()=> #part: ::core::hash::Hash + ::core::cmp::Eq)
            });
        quote!(where #(#bounds,)* #(#parts,)*)
    }

    fn handle_methods(&self) -> TokenStream {
        let vis = &self.function.item.vis;
        let output = &self.function.output;
        let (invalidate, invalidate_if) = match self.key_type() {
            Some(key) => (
                quote! {
                    #vis fn invalidate<__Q>(key: &__Q) -> bool
                    where
                        __Q: ?Sized + ::core::hash::Hash + ::scrubjay::__private::Equivalent<#key>,
                    {
                        Self::cache().invalidate(key)
                    }
                },
                Some(quote! {
                    /// Discards the results that `matches` accepts; returns how many.
                    #vis fn invalidate_if(matches: impl FnMut(&#key, &#output) -> bool) -> usize {
                        Self::cache().invalidate_if(matches)
                    }
                }),
            ),
            None => (
                quote! {
                    #vis fn invalidate<__Q>(key: &__Q) -> bool
                    where
                        __Q: ::core::hash::Hash + ::core::cmp::Eq + 'static,
                    {
                        ::scrubjay::__private::invalidate(&Self::cache(), key)
                    }
                },
                None,
            ),
        };
        quote! {
            /// Discards the result for a key; says whether there was one. A call in progress is overtaken.
            #invalidate
            #invalidate_if
            /// Discards the results that carry `tag`; returns how many.
            #vis fn invalidate_tag(tag: &str) -> usize {
                Self::cache().invalidate_tag(tag)
            }
            /// Discards all results.
            #vis fn clear() {
                Self::cache().clear();
            }
            /// Returns what the cache has done so far.
            #vis fn stats() -> ::scrubjay::Stats {
                Self::cache().stats()
            }
        }
    }

    /// The function itself, for a thread that has nothing but a key.
    fn load_function(&self) -> Option<TokenStream> {
        if !self.refreshes_in_background() {
            return None;
        }
        let item = self.function.item;
        let (load, inputs, output) = (hidden("__load"), &item.sig.inputs, &item.sig.output);
        let (lifetimes, bounds) = self.lifetime_generics();
        let block = &item.block;
        let lints = item.attrs.iter().filter(|attr| {
            ["allow", "expect", "warn", "deny"]
                .iter()
                .any(|lint| attr.path().is_ident(lint))
        });
        Some(quote!(#(#lints)* fn #load #lifetimes (#inputs) #output #bounds #block))
    }

    /// The function beside a method.
    pub(super) fn cache_function(&self) -> TokenStream {
        let vis = &self.function.item.vis;
        let (name, generics) = (self.cache_function_name(), self.free_generics());
        let (allowed, cfgs, stored) = (allowed(), self.cfgs(), self.stored());
        let doc = format!(
            "Returns the cache of the memoized `{}`.",
            self.function.name()
        );
        let signature = self.cache_signature(&name, &generics);
        quote! {
            #(#cfgs)*
            #[doc = #doc]
            #allowed
            #[inline]
            #vis #signature { #stored }
        }
    }

    fn cache_signature(&self, name: &Ident, generics: &Generics) -> TokenStream {
        let output = &self.function.output;
        let is_local = self.options.local.is_some();
        let key = self.key_type().unwrap_or_else(|| {
            let shared = (!is_local).then(|| quote!(+ ::core::marker::Send + ::core::marker::Sync));
            quote! {
                impl ::core::hash::Hash + ::core::cmp::Eq + ::core::clone::Clone #shared + 'static
            }
        });
        let reference = (!is_local).then(|| quote!(&'static));
        let (params, _, bounds) = generics.split_for_impl();
        quote!(fn #name #params() -> #reference ::scrubjay::Cache<#key, #output> #bounds)
    }

    pub(super) fn cache_function_name(&self) -> Ident {
        let ident = &self.function.item.sig.ident;
        // At the attribute, because that is what is wrong if there is no room for this function.
        format_ident!("{}_cache", ident.unraw(), span = Span::call_site())
    }

    /// The handle, as the start of a path.
    pub(super) fn handle_type(&self) -> TokenStream {
        let ident = &self.function.item.sig.ident;
        let args = self.turbofish();
        quote!(#ident #args)
    }

    pub(super) fn turbofish(&self) -> TokenStream {
        let names: Vec<_> = self.type_params().into_iter().map(name_of).collect();
        if names.is_empty() {
            return TokenStream::new();
        }
        quote!(::<#(#names),*>)
    }

    /// The type and const parameters.
    pub(super) fn type_params(&self) -> Vec<&GenericParam> {
        let params = self.function.item.sig.generics.params.iter();
        params
            .filter(|param| !matches!(param, GenericParam::Lifetime(_)))
            .collect()
    }

    /// The generics without lifetimes, which keys and values do not have.
    fn free_generics(&self) -> Generics {
        let mut generics = self.function.item.sig.generics.clone();
        let params = self.type_params().into_iter().cloned();
        generics.params = params.collect();
        for param in generics.type_params_mut() {
            let bounds = param
                .bounds
                .iter()
                .filter(|bound| !has_lifetime(|finder| finder.visit_type_param_bound(bound)));
            param.bounds = bounds.cloned().collect();
        }
        if let Some(clause) = &mut generics.where_clause {
            let free = clause
                .predicates
                .iter()
                .filter(|predicate| is_free(predicate));
            clause.predicates = free.cloned().collect();
        }
        generics
    }

    /// The rest of the generics.
    fn lifetime_generics(&self) -> (TokenStream, TokenStream) {
        let generics = &self.function.item.sig.generics;
        let params = generics.lifetimes();
        let bounds = generics
            .where_clause
            .iter()
            .flat_map(|clause| &clause.predicates);
        let bounds: Vec<_> = bounds.filter(|predicate| !is_free(predicate)).collect();
        let bounds = match bounds.is_empty() {
            true => quote!(),
            false => quote!(where #(#bounds),*),
        };
        (quote!(<#(#params),*>), bounds)
    }

    /// The conditions under which the function is there.
    fn cfgs(&self) -> Vec<&syn::Attribute> {
        let attrs = self.function.item.attrs.iter();
        attrs.filter(|attr| attr.path().is_ident("cfg")).collect()
    }
}

fn name_of(param: &GenericParam) -> &Ident {
    match param {
        GenericParam::Type(param) => &param.ident,
        GenericParam::Const(param) => &param.ident,
        GenericParam::Lifetime(param) => &param.lifetime.ident,
    }
}

fn is_const(param: &GenericParam) -> bool {
    matches!(param, GenericParam::Const(_))
}

fn is_free(predicate: &WherePredicate) -> bool {
    !has_lifetime(|finder| finder.visit_where_predicate(predicate))
}

/// Whether something names a lifetime of the function.
fn has_lifetime(visit: impl FnOnce(&mut LifetimeFinder)) -> bool {
    let mut finder = LifetimeFinder(false);
    visit(&mut finder);
    finder.0
}

struct LifetimeFinder(bool);

impl<'ast> Visit<'ast> for LifetimeFinder {
    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        self.0 |= lifetime.ident != "static";
    }

    // `for<'a>` names lifetimes of its own.
    fn visit_trait_bound(&mut self, bound: &'ast syn::TraitBound) {
        if bound.lifetimes.is_none() {
            syn::visit::visit_trait_bound(self, bound);
        }
    }
}
