//! The tables as sea-orm reads them. The writer has its own statements.

/// Events, and outcomes of commands without events.
pub(super) mod events {
    #![allow(unreachable_pub, missing_docs, reason = "the derive makes its items public")]

    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "events")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub position: i64,
        pub aggregate: String,
        pub id: String,
        pub version: Option<i64>,
        pub dedup: Option<Vec<u8>>,
        pub time_micros: i64,
        pub event_name: Option<String>,
        pub schema_version: Option<i64>,
        pub codec: Option<i64>,
        pub command_id: Option<Vec<u8>>,
        pub command_name: Option<String>,
        pub key: Option<String>,
        pub payload_hash: Option<i64>,
        pub outcome_kind: Option<i64>,
        pub outcome_version: Option<i64>,
        pub outcome_codec: Option<i64>,
        pub correlation_id: Option<String>,
        pub causation_id: Option<String>,
        pub outcome_body: Option<Vec<u8>>,
        pub payload: Option<Vec<u8>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Blocks of the archive.
pub(super) mod archive {
    #![allow(unreachable_pub, missing_docs, reason = "the derive makes its items public")]

    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "archive")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub aggregate: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub to_version: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub from_version: i64,
        pub block: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Snapshots.
pub(super) mod snapshots {
    #![allow(unreachable_pub, missing_docs, reason = "the derive makes its items public")]

    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "snapshots")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub aggregate: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub version: i64,
        pub time_micros: i64,
        pub fingerprint: i64,
        pub codec: i64,
        pub payload: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
