using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>The guest's Internet, frame by frame, between two of its own kind.</summary>
public sealed class NetStackTests
{
    private const uint One = 0x0a000001, Two = 0x0a000002;

    private readonly NetStack _one = new() { Mac = new MacAddress([2, 0, 0, 0, 0, 1]) };
    private readonly NetStack _two = new() { Mac = new MacAddress([2, 0, 0, 0, 0, 2]) };

    public NetStackTests()
    {
        _one.SetAddress(One, 24);
        _two.SetAddress(Two, 24);
    }

    [Fact]
    public void Who_asks_for_an_address_learns_it_and_so_does_who_was_asked()
    {
        Assert.Null(_one.Receive(_two.Receive(_one.Ask(Two))));
        Assert.True(_one.Knows(Two) && _two.Knows(One));
        Assert.Null(_two.Receive(_one.Ask(0x0a000003)));
    }

    [Fact]
    public void A_ping_is_answered_by_its_own_bytes()
    {
        _one.Receive(_two.Receive(_one.Ask(Two)));
        byte[] ping = _one.Ping(Two, 0x1234_0005);
        byte[] pong = _two.Receive(ping)!;
        Assert.Equal(ping[42..], pong[42..]);
        Assert.Null(_one.Receive(pong));
        Assert.Equal(0x1234_0005u, _one.LastEchoReply);
        Assert.Equal(1, _two.EchoesAnswered);
    }

    [Fact]
    public void A_frame_with_any_byte_changed_or_cut_off_is_answered_as_it_should_be_or_not_at_all()
    {
        _one.Receive(_two.Receive(_one.Ask(Two)));
        byte[] ping = _one.Ping(Two, 1);
        for (int i = NetPacket.EthernetLength; i < ping.Length; i++)
        {
            byte[] changed = [.. ping];
            changed[i] ^= 0x10;
            Assert.Null(_two.Receive(changed));
            Assert.Null(_two.Receive(ping.AsSpan(0, i)));
        }
    }

    [Fact]
    public void Random_frames_do_no_harm()
    {
        Random random = new(1);
        byte[] frame = new byte[200];
        byte[][] models = [_one.Ask(Two), _one.Receive(_two.Ask(One))!, _one.Ping(Two, 7)];
        for (int i = 0; i < 100_000; i++)
        {
            random.NextBytes(frame);
            byte[] model = models[random.Next(models.Length)];
            model.AsSpan(0, random.Next(model.Length + 1)).CopyTo(frame);
            _ = _two.Receive(frame.AsSpan(0, random.Next(frame.Length + 1)));
        }
    }

    [Theory]
    [InlineData(24, 0x0a0000ff, true)]
    [InlineData(24, 0x0a000100, false)]
    [InlineData(0, 0xc0a80001, true)]
    [InlineData(32, One, true)]
    [InlineData(32, Two, false)]
    public void What_is_near_follows_from_the_prefix(int prefix, uint address, bool near)
    {
        _one.SetAddress(One, prefix);
        Assert.Equal(near, _one.IsNear(address));
    }
}
