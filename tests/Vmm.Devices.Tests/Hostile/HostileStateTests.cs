using System.Text.Json.Nodes;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>State that no machine saved: one is restored from a file that an enemy wrote.</summary>
public sealed class HostileStateTests
{
    private const string Registers = "registers", Queues = "queues";

    private static readonly JsonNode?[] Nonsense =
    [
        null, true, 0, -1, 1, 3, 65_536, int.MaxValue, long.MaxValue, long.MinValue, 1.5, "", "x", "0x0", "0x1", "0x7fff", "0x8000", "0xffff",
        "0xffffffff", "0xffffffffffffffff", "0xfffffffffffffff0", "AAAA", Convert.ToBase64String(new byte[128]), new string('A', 40_000), "\u001b[2J",
        new JsonArray(), new JsonObject(), new JsonArray { new JsonObject() }, new JsonObject { ["version"] = 1 }, new JsonObject { ["version"] = 99 },
    ];

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 2.7 and § 2.8: a saved machine whose rings stand beyond themselves, as an enemy of its incoming migration would send it")]
    [Trait("Outcome", "needs reset, or served as far as the ring goes")]
    public void Positions_beyond_the_ring_ask_for_a_reset(HostileCase @case)
    {
        foreach (string position in (string[])["0x7fff", "0xffff", "0x8000", "0x100", "0x0", "0x8001"])
        {
            using HostileGuest hostile = new(@case);
            Restore(hostile, root => ForEachQueue(root, queue => queue["position"] = position));
            bool isOutside = @case.Packed && position is "0x7fff" or "0xffff" or "0x100";
            if (isOutside) Assert.True(hostile.NeedsReset, $"{position} is beyond the ring");
            hostile.AssertWorksAfterReset(position);
        }
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 2.7 and § 2.8: a saved machine whose rings are outside of its memory, askew, over each other, or of a size no ring has")]
    [Trait("Outcome", "needs reset, or refused")]
    public void Rings_where_none_may_be_ask_for_a_reset(HostileCase @case)
    {
        (string Name, JsonNode Value)[] changes =
        [
            ("descriptors", "0xffffffffffffffff"), ("descriptors", "0xfffffffffffffff0"), ("descriptors", "0xd0000000"), ("driver-area", "0xfffffffffffffffe"),
            ("device-area", "0x8000000000000000"), ("device-area", "0x10001"), ("size", 0),
        ];
        foreach ((string name, JsonNode value) in changes)
        {
            using HostileGuest hostile = new(@case);
            Restore(hostile, root => ForEachQueue(root, queue => queue[name] = value.DeepClone()));
            Assert.True(hostile.NeedsReset, $"{name}={value}");
            hostile.AssertWorksAfterReset(name);
        }
        using HostileGuest tooLarge = new(@case);
        Assert.Throws<StateException>(() => Restore(tooLarge, root => ForEachQueue(root, queue => queue["size"] = 32_768)));
        tooLarge.AssertWorksAfterReset("size");
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 2.1.1 and § 2.2.2: a saved machine with status bits that no driver could set, features never offered, and queues served without a driver")]
    [Trait("Outcome", "refused, with the place")]
    public void What_no_driver_could_bring_about_is_refused(HostileCase @case)
    {
        (string Name, Action<JsonObject> Change)[] changes =
        [
            ("status", registers => registers["status"] = "0x4"),
            ("status", registers => registers["status"] = "0x2"),
            ("status", registers => registers["status"] = "0x9"),
            ("status", registers => registers["status"] = "0x40"),
            ("status", registers => registers["status"] = "0x1f"),
            ("features", registers => registers["features"] = "0xffffffffffffffff"),
            ("features", registers => registers["features"] = "0x0"),
            ("features", registers => registers["features-beyond-64"] = true),
            ("interrupts", registers => registers["interrupts"] = "0x4"),
            ("queues", registers => registers["status"] = "0xb"),
            ("queues", registers => registers[Queues]!.AsArray().RemoveAt(0)),
            ("queues", registers => registers[Queues]!.AsArray().Add(registers[Queues]![0]!.DeepClone())),
            ("position", registers => registers[Queues]![0]!["ready"] = false),
        ];
        foreach ((string name, Action<JsonObject> change) in changes)
        {
            using HostileGuest hostile = new(@case);
            StateException refused = Assert.Throws<StateException>(() => Restore(hostile, root => change(root[Registers]!.AsObject())));
            Assert.Contains(name, refused.Message, StringComparison.Ordinal);
            hostile.AssertWorksAfterReset(name);
        }
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "a saved machine of which any value is anything: counts, sizes, lengths, texts, records in the place of numbers, and none at all")]
    [Trait("Outcome", "refused, with the place; or works")]
    public void Any_value_may_be_anything(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        byte[] state = hostile.Guest.Pause().Save();
        int places = Places(JsonNode.Parse(state)!).Count(), refused = 0, tried = 0;
        for (int place = 0; place < places; place++)
        {
            foreach (int nonsense in (int[])[place % Nonsense.Length, (place * 7 + 3) % Nonsense.Length, (place * 11 + 5) % Nonsense.Length])
            {
                tried++;
                byte[] changed = SavedState.Changed(state, root =>
                {
                    (JsonNode parent, string? name, int index) = Places(root).ElementAt(place);
                    if (name is not null) parent[name] = Nonsense[nonsense]?.DeepClone();
                    else parent[index] = Nonsense[nonsense]?.DeepClone();
                });
                try
                {
                    hostile.Guest.Pause().Replace(hostile.Make, changed);
                    hostile.Guest.Resume();
                    foreach (BatteryRequest request in hostile.Requests) hostile.Guest.Kick(request.Queue);
                    hostile.Guest.RunUntilIdle();
                }
                catch (StateException wrong)
                {
                    refused++;
                    Assert.DoesNotContain(wrong.Message, char.IsControl);
                    Assert.InRange(wrong.Message.Length, 1, 1000);
                }
                hostile.AssertWorksAfterReset($"after place {place} was {Nonsense[nonsense]?.ToJsonString() ?? "null"}");
            }
        }
        Assert.InRange(refused, tried / 2, tried - 1);
    }

    private static void Restore(HostileGuest hostile, Action<JsonObject> change)
    {
        byte[] state = SavedState.Changed(hostile.Guest.Pause().Save(), change);
        hostile.Guest.Replace(hostile.Make, state);
        hostile.Guest.Resume().RunUntilIdle();
        foreach (BatteryRequest request in hostile.Requests) hostile.Guest.Kick(request.Queue);
        hostile.Guest.RunUntilIdle();
    }

    private static void ForEachQueue(JsonObject root, Action<JsonObject> change)
    {
        foreach (JsonNode? queue in root[Registers]![Queues]!.AsArray()) change(queue!.AsObject());
    }

    /// <summary>Every value of the state, by where it hangs.</summary>
    private static IEnumerable<(JsonNode Parent, string? Name, int Index)> Places(JsonNode node)
    {
        if (node is JsonObject record)
        {
            foreach ((string name, JsonNode? value) in record.ToArray())
            {
                yield return (record, name, 0);
                if (value is not null) foreach (var below in Places(value)) yield return below;
            }
        }
        else if (node is JsonArray list)
        {
            for (int i = 0; i < list.Count; i++)
            {
                yield return (list, null, i);
                if (list[i] is { } value) foreach (var below in Places(value)) yield return below;
            }
        }
    }
}
