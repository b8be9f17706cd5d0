using System.Text;
using System.Text.Json.Nodes;
using FsCheck;
using FsCheck.Fluent;

namespace Vmm.Devices.Tests;

public sealed class StateRecordTests
{
    /// <summary>Any values at all, as FsCheck makes them.</summary>
    public sealed record Values(bool Truth, long Number, ulong Bits, string? Text, byte[] Bytes, short[] Items);

    [Fact]
    public void Whatever_is_written_is_read_back() => Prop.ForAll<Values>(values =>
    {
        // Half a surrogate pair is no text.
        string text = Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(values.Text ?? ""));
        StateReader reader = StateReader.Parse(SavedState.Written(to =>
        {
            to.Add("truth", values.Truth);
            to.Add("number", values.Number);
            StateWriter below = to.AddRecord("below", version: 7);
            below.Add("bits", values.Bits);
            below.Add("text", text);
            below.Add("bytes", values.Bytes);
            foreach (short item in values.Items) below.AddItem("items", version: 2).Add("item", (long)item);
        }), "state");
        StateReader below = reader.Record("below", newestVersion: 7);
        bool isSame = reader.Boolean("truth") == values.Truth && reader.Int64("number", long.MinValue, long.MaxValue) == values.Number
            && below.UInt64("bits") == values.Bits && below.Text("text", text.Length) == text
            && below.Bytes("bytes", values.Bytes.Length).AsSpan().SequenceEqual(values.Bytes)
            && below.Items("items", values.Items.Length, newestVersion: 2).Select(item => (short)item.Int32("item", short.MinValue, short.MaxValue))
                .SequenceEqual(values.Items);
        reader.Complete();
        return isSame && below.Version == 7;
    }).QuickCheckThrowOnFailure();

    [Theory]
    [InlineData("""{"version":1,"n":5}""", 0, 4, "state.n is 5, which is not from 0 to 4")]
    [InlineData("""{"version":1,"n":-1}""", 0, 4, "state.n is -1, which is not from 0 to 4")]
    [InlineData("""{"version":1,"n":1.5}""", 0, 4, "state.n is the number 1.5, not a whole number")]
    [InlineData("""{"version":1,"n":99999999999999999999}""", 0, 4, "state.n is the number 99999999999999999999, not a whole number")]
    [InlineData("""{"version":1,"n":"1"}""", 0, 4, "state.n is a text, not a whole number")]
    [InlineData("""{"version":1,"n":null}""", 0, 4, "state.n is empty, not a whole number")]
    [InlineData("""{"version":1}""", 0, 4, "state.n is missing")]
    public void A_number_has_bounds(string json, long min, long max, string message) =>
        Assert.Equal(message, Assert.Throws<StateException>(() => SavedState.Read(json).Int64("n", min, max)).Message);

    [Theory]
    [InlineData("\"0x1ff\"", "state.b is 0x1ff, which is more than 0xff")]
    [InlineData("\"1ff\"", "state.b is not a hexadecimal number such as 0x1f")]
    [InlineData("\"0x\"", "state.b is not a hexadecimal number such as 0x1f")]
    [InlineData("\"0x10000000000000000\"", "state.b has 19 characters, more than 18")]
    [InlineData("17", "state.b is the number 17, not a text")]
    public void Bits_have_bounds(string value, string message) =>
        Assert.Equal(message, Assert.Throws<StateException>(() => SavedState.Read($$"""{"version":1,"b":{{value}}}""").UInt64("b", 0xff)).Message);

    [Theory]
    [InlineData("\"AAAA\"", 2, "state.b has 3 bytes, more than 2")]
    [InlineData("\"AAAAAAAA\"", 2, "state.b has 8 characters, more than 4")]
    [InlineData("\"A*==\"", 2, "state.b is not base64")]
    [InlineData("[0]", 2, "state.b is a list, not a text")]
    [InlineData("\"\\ud800\"", 2, "state.b is a text, not a text")]
    public void Bytes_have_bounds(string value, int most, string message) =>
        Assert.Equal(message, Assert.Throws<StateException>(() => SavedState.Read($$"""{"version":1,"b":{{value}}}""").Bytes("b", most)).Message);

    [Theory]
    [InlineData("""{"version":1,"l":[{"version":1},{"version":1}]}""", "state.l has 2 records, more than 1")]
    [InlineData("""{"version":1,"l":[3]}""", "state.l[0] is the number 3, not a record")]
    [InlineData("""{"version":1,"l":{}}""", "state.l is a record, not a list")]
    [InlineData("""{"version":1,"l":[{}]}""", "state.l[0].version is missing")]
    public void A_list_has_bounds(string json, string message) =>
        Assert.Equal(message, Assert.Throws<StateException>(() => SavedState.Read(json).Items("l", 1)).Message);

    [Fact]
    public void A_list_that_was_never_begun_is_empty() => Assert.Empty(SavedState.Read("""{"version":1}""").Items("l", 0));

    [Theory]
    [InlineData("", "state is not JSON as it was written")]
    [InlineData("[]", "state is a list, not a record")]
    [InlineData("""{"version":1,"version":1}""", "state is not JSON as it was written")]
    [InlineData("""{"version":1,"a":{"b":1,"b":2}}""", "state is not JSON as it was written")]
    [InlineData("""{"version":0}""", "state.version is 0, which is not from 1")]
    [InlineData("""{"version":"1"}""", "state.version is a text")]
    [InlineData("""{"version":1} x""", "state is not JSON as it was written")]
    public void What_is_no_state_is_refused(string json, string message) =>
        Assert.StartsWith(message, Assert.Throws<StateException>(() => SavedState.Read(json)).Message);

    [Fact]
    public void Records_in_records_without_end_are_refused()
    {
        string json = string.Concat(Enumerable.Repeat("""{"version":1,"r":""", 100)) + "1" + new string('}', 100);
        Assert.Contains("not JSON as it was written", Assert.Throws<StateException>(() => SavedState.Read(json)).Message);
    }

    [Fact]
    public void An_older_version_is_taken_and_a_newer_one_refused()
    {
        StateReader older = SavedState.Read("""{"version":2,"old":true,"r":{"version":1}}""", newestVersion: 3);
        Assert.Equal(2, older.Version);
        Assert.True(older.Has("old") && older.Boolean("old"));
        Assert.Equal(1, older.Record("r", newestVersion: 5).Version);
        Assert.Equal("state has version 4, and this program knows up to 3: restore it with a newer one",
            Assert.Throws<StateException>(() => SavedState.Read("""{"version":4}""", newestVersion: 3)).Message);
        Assert.Equal("state.r has version 2, and this program knows up to 1: restore it with a newer one",
            Assert.Throws<StateException>(() => SavedState.Read("""{"version":1,"r":{"version":2}}""").Record("r")).Message);
    }

    [Fact]
    public void A_value_of_a_newer_writer_is_refused_by_its_name_and_a_hint_is_skipped()
    {
        const string Known = "is not known to this program: restore it with the one that saved it, or a newer one";
        SavedState.Read("""{"version":1,"hint?":{"anything":[1]}}""").Complete();
        Assert.Equal($"state.other {Known}", Assert.Throws<StateException>(SavedState.Read("""{"version":1,"other":1}""").Complete).Message);
        StateReader reader = SavedState.Read("""{"version":1,"l":[{"version":1,"x?":1},{"version":1,"x":1}]}""");
        Assert.Equal(2, reader.Items("l", 2).Count);
        Assert.Equal($"state.l[1].x {Known}", Assert.Throws<StateException>(reader.Complete).Message);
    }

    [Theory]
    [InlineData("""{"version":1,"\u001b[2Jx\u202e\u0000":1}""")]
    [InlineData("""{"version":1,"\u001b[2Jx":1,"\u001b[2Jx":1}""")]
    [InlineData("{\"version\":1,\"a\u001b[2J\":1}")]
    public void A_name_of_the_file_cannot_reach_the_terminal(string json)
    {
        string message = Assert.Throws<StateException>(() => SavedState.Read(json).Complete()).Message;
        Assert.DoesNotContain(message, letter => char.IsControl(letter) || letter == '\u202e');
    }

    [Theory]
    [InlineData(new byte[] { 0xff })]
    [InlineData(new byte[] { 0xc3 })]
    [InlineData(new byte[] { (byte)'\\', (byte)'u', (byte)'d', (byte)'8', (byte)'0', (byte)'0' })]
    public void A_name_that_is_no_text_is_refused(byte[] name)
    {
        byte[] state = [.. "{\"version\":1,\"r\":[{\"version\":1,\""u8, .. name, .. "\":1}]}"u8];
        Assert.StartsWith("state is not JSON as it was written", Assert.Throws<StateException>(() => StateReader.Parse(state, "state")).Message);
    }

    [Fact]
    public void A_message_does_not_grow_with_the_file()
    {
        string name = new('x', 100_000);
        Assert.InRange(Assert.Throws<StateException>(() => SavedState.Read($$"""{"version":1,"n":tr{{name}}}""")).Message.Length, 1, 300);
        Assert.InRange(Assert.Throws<StateException>(SavedState.Read($$"""{"version":1,"{{name}}":1}""").Complete).Message.Length, 1, 300);
        Assert.InRange(Assert.Throws<StateException>(() => SavedState.Read($$"""{"version":1,"n":1{{new string('0', 100_000)}}}""").Int64("n", 0, 1)).Message.Length, 1, 300);
    }

    [Fact]
    public void What_is_written_is_JSON_that_other_programs_read()
    {
        JsonObject json = JsonNode.Parse(SavedState.Written(to =>
        {
            to.Add("address", 0x1000ul);
            to.Add("count", 3L);
            to.AddItem("queues").Add("ready", true);
        }))!.AsObject();
        Assert.Equal("""{"version":1,"address":"0x1000","count":3,"queues":[{"version":1,"ready":true}]}""", json.ToJsonString());
    }

    [Fact]
    public void A_name_is_written_once_and_a_version_is_at_least_one()
    {
        StateWriter writer = new();
        writer.Add("a", true);
        Assert.ThrowsAny<ArgumentException>(() => writer.Add("a", 1L));
        Assert.ThrowsAny<ArgumentException>(() => writer.AddRecord("b", version: 0));
    }
}
