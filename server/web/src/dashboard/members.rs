//! Who belongs to a tenant, as what; invitations; what each role may do.

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde::Deserialize;
use trunkline_platform::{
    Error, ErrorKind,
    accounts::{self, MemberRow, OpenInvitation},
    actor::{Permission, Role},
    ids::{InvitationId, UserId},
};

use super::{
    Page,
    components::{Choice, Moment},
    layout::Layout,
    page_with, see_other,
};
use crate::{
    Access, Route, WebState,
    extract::{Allowed, FieldErrors, Form, InTenant, ManageMembers, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageMembers);
    vec![
        Route::get("/t/{tenant}/members", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/members/{member}/role", manage, change_role),
        Route::post("/t/{tenant}/members/{member}/remove", manage, remove),
        Route::post("/t/{tenant}/invitations", manage, invite),
        Route::post("/t/{tenant}/invitations/{invitation}/withdraw", manage, withdraw),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/members.html")]
struct MembersPage {
    layout: Layout,
    problem: String,
    errors: FieldErrors,
    members: Vec<MemberView>,
    invitations: Vec<InvitationView>,
    can_manage: bool,
    invite_url: String,
    email: String,
    invite_roles: Vec<Choice>,
    roles: [String; 5],
    permissions: Vec<PermissionView>,
}

struct MemberView {
    email: String,
    role: &'static str,
    since: Moment,
    is_self: bool,
    /// The roles the visitor may give; empty if they may not change this member.
    roles: Vec<Choice>,
    /// Makes the ids of this member's fields their own.
    id_prefix: String,
    role_url: String,
    remove_url: String,
}

struct InvitationView {
    email: String,
    role: &'static str,
    expires: Moment,
    is_expired: bool,
    withdraw_url: String,
}

/// One permission, and whether each role has it.
struct PermissionView {
    label: String,
    allowed: [bool; 5],
}

#[derive(Deserialize)]
struct InviteForm {
    email: String,
    role: String,
}

#[derive(Deserialize)]
struct RoleForm {
    role: String,
}

#[derive(Deserialize)]
struct Nothing {}

/// What the page says beside the members.
#[derive(Default)]
struct Said {
    problem: String,
    errors: FieldErrors,
    email: String,
    role: Option<Role>,
}

async fn show(state: web::Data<WebState>, member: InTenant) -> Page {
    render(&state, &member, StatusCode::OK, Said::default()).await
}

async fn invite(state: web::Data<WebState>, member: Allowed<ManageMembers>, form: Form<InviteForm>) -> Page {
    let InviteForm { email, role } = form.0;
    let parsed = role.parse::<Role>();
    let given = parsed.as_ref().ok().copied();
    let invited = match parsed {
        Ok(role) => accounts::invite(&state.platform, &member.actor, &email, role).await.map(|_| ()),
        Err(error) => Err(error),
    };
    match invited {
        Ok(()) => {
            member.visitor.leave_flash("success", "The invitation is on its way.");
            Ok(see_other(&urls::members(member.slug())))
        }
        Err(error) => {
            let errors = FieldErrors::from_failure(error)?;
            let said = Said { errors, email, role: given, ..Said::default() };
            render(&state, &member, StatusCode::UNPROCESSABLE_ENTITY, said).await
        }
    }
}

async fn withdraw(
    state: web::Data<WebState>,
    member: Allowed<ManageMembers>,
    invitation: Path<InvitationId>,
    _: Form<Nothing>,
) -> Page {
    accounts::withdraw(&state.platform, &member.actor, invitation.0).await?;
    member.visitor.leave_flash("success", "The invitation is withdrawn; its link works no more.");
    Ok(see_other(&urls::members(member.slug())))
}

async fn change_role(
    state: web::Data<WebState>,
    member: Allowed<ManageMembers>,
    user: Path<UserId>,
    form: Form<RoleForm>,
) -> Page {
    let changed = match form.0.role.parse::<Role>() {
        Ok(role) => accounts::change_role(&state.platform, &member.actor, user.0, role).await,
        Err(error) => Err(error),
    };
    after_change(&state, &member, changed, "The role is changed.").await
}

async fn remove(state: web::Data<WebState>, member: Allowed<ManageMembers>, user: Path<UserId>, _: Form<Nothing>) -> Page {
    let removed = accounts::remove(&state.platform, &member.actor, user.0).await;
    if removed.is_ok() && user.0 == member.actor.user {
        return Ok(see_other(urls::start()));
    }
    after_change(&state, &member, removed, "The member is removed.").await
}

/// Back to the list; with the reason on it if nothing was changed.
async fn after_change(state: &WebState, member: &Allowed<ManageMembers>, outcome: Result<(), Error>, done: &'static str) -> Page {
    let Err(error) = outcome else {
        member.visitor.leave_flash("success", done);
        return Ok(see_other(&urls::members(member.slug())));
    };
    let status = match error.kind() {
        ErrorKind::Conflict(_) => StatusCode::CONFLICT,
        ErrorKind::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => return Err(error.into()),
    };
    render(state, member, status, Said { problem: error.to_string(), ..Said::default() }).await
}

async fn render<P>(state: &WebState, member: &Allowed<P>, status: StatusCode, said: Said) -> Page {
    let actor = &member.actor;
    let can_manage = member.may(Permission::ManageMembers);
    let invitations =
        async { if can_manage { accounts::list_invitations(&state.platform, actor).await } else { Ok(Vec::new()) } };
    let (members, invitations) = tokio::try_join!(accounts::list_members(&state.platform, actor), invitations)?;
    let slug = member.slug();
    page_with(
        status,
        &MembersPage {
            layout: member.layout("Members", "members"),
            problem: said.problem,
            errors: said.errors,
            members: members.iter().map(|row| member_view(actor.user, actor.role, slug, row)).collect(),
            invitations: invitations.iter().map(|row| invitation_view(slug, row)).collect(),
            can_manage,
            invite_url: urls::invitations(slug),
            email: said.email,
            invite_roles: choices(actor.role, said.role.unwrap_or(Role::Developer)),
            roles: Role::ALL.map(|role| capitalised(role.as_str())),
            permissions: Permission::all().map(permission_view).collect(),
        },
    )
}

fn member_view(visitor: UserId, own_role: Role, slug: &str, row: &MemberRow) -> MemberView {
    let may_change =
        own_role.may(Permission::ManageMembers) && (row.role != Role::Owner || own_role.may(Permission::ManageOwners));
    MemberView {
        email: row.email.as_str().to_owned(),
        role: row.role.as_str(),
        since: Moment::day(row.since),
        is_self: row.user == visitor,
        roles: if may_change { choices(own_role, row.role) } else { Vec::new() },
        id_prefix: format!("{}-", row.user),
        role_url: urls::member_role(slug, row.user),
        remove_url: urls::member_remove(slug, row.user),
    }
}

fn invitation_view(slug: &str, row: &OpenInvitation) -> InvitationView {
    InvitationView {
        email: row.email.as_str().to_owned(),
        role: row.role.as_str(),
        expires: Moment::day(row.expires_at),
        is_expired: row.is_expired,
        withdraw_url: urls::invitation_withdraw(slug, row.id),
    }
}

fn permission_view(permission: Permission) -> PermissionView {
    PermissionView { label: capitalised(permission.as_str()), allowed: Role::ALL.map(|role| role.may(permission)) }
}

/// The roles that somebody with `own` may give.
fn choices(own: Role, chosen: Role) -> Vec<Choice> {
    let may_give = |role: &Role| *role != Role::Owner || own.may(Permission::ManageOwners);
    let choice = |role: Role| Choice {
        value: role.as_str().to_owned(),
        label: capitalised(role.as_str()),
        hint: String::new(),
        chosen: role == chosen,
    };
    Role::ALL.into_iter().filter(may_give).map(choice).collect()
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
