using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>The messages that ask for in-flight logs and hand them in.</summary>
public abstract class InflightMessageTests(PollerKind poller) : PollerSuite(poller)
{
    [Fact]
    public void Geometry_that_does_not_fit_is_refused()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        foreach (InflightGeometry wrong in new InflightGeometry[]
        {
            new(4096, 0, 0, 16), new(4096, 0, 2, 16), new(4096, 0, ushort.MaxValue, 16), new(4096, 0, 1, 0), new(4096, 0, 1, ushort.MaxValue),
            new(InflightLog.BytesFor(16) - 1, 0, 1, 16), new(4096, 3, 1, 16), new(4096, 4096, 1, 16), new(4096, ulong.MaxValue - 7, 1, 16), new(ulong.MaxValue, 0, 1, 256),
        })
        {
            using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
            using VhostUserInflight logs = frontend.GetInflight(1, 16);
            Assert.Throws<VhostUserException>(() => frontend.ShareInflight(new VhostUserInflight(logs.File, wrong)));
        }
        HostileFrontEndTests.AssertNextIsServed(served);
    }

    [Theory]
    [InlineData(20)]
    [InlineData(24)]
    public void The_description_is_taken_with_and_without_padding(int payloadBytes)
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        byte[] payload = new byte[payloadBytes];
        new InflightGeometry(0, 0, 1, 128).Write(payload);
        frontend.Send(VhostUserRequest.GetInflightFd, payload, []);
        byte[] reply = frontend.Receive(VhostUserRequest.GetInflightFd).ToArray();
        Assert.Equal(payloadBytes, reply.Length);
        Assert.Equal(1, frontend.ReplyFds.Count);
        // The logs, as other back-ends lay them out, and a line of our own behind them.
        Assert.Equal(2112u + 64u, InflightGeometry.Read(reply).Bytes);
        frontend.Do(VhostUserRequest.SetInflightFd, reply, [frontend.ReplyFds.Peek(0)]);
    }
}

public sealed class InflightMessagesOnEpollTests() : InflightMessageTests(PollerKind.Epoll);

public sealed class InflightMessagesOnIoRingTests() : InflightMessageTests(PollerKind.IoRing);
