using System.Reflection;
using Vmm.Devices.Simulation;
using Vmm.Tests;

namespace Vmm.Devices.Tests;

/// <summary>
/// The fences of a ring, each by a litmus test: driver and device store and then load, at the same moment on two processors, hundreds of thousands of
/// times. Without the device's fence its load passes its store now and then, and both sides miss the other.
/// </summary>
public sealed class FenceTests
{
    public static TheoryData<RingShape> Shapes =>
        [.. from packed in (bool[])[false, true] from index in (bool[])[false, true] select new RingShape(packed, index, Indirect: false)];

    [Theory, MemberData(nameof(Shapes))]
    public void A_device_that_publishes_interrupts_or_the_driver_sees_what_was_used(RingShape shape)
    {
        using RingRig rig = new(shape);
        int signals = 0;
        Litmus.Race(() =>
        {
            rig.Driver.DisableInterrupts();
            Assert.True(rig.Driver.TryAdd([Buffer], [], out _));
            rig.Driver.Publish();
            Assert.True(rig.Device.TryPop(out DescriptorChain? chain));
            rig.Device.Push(chain, 0);
            signals = rig.Signals.Queue;
        }, here: rig.Driver.EnableInterrupts, there: () =>
        {
            rig.Device.Publish();
            return rig.Signals.Queue > signals;
        }, () => Assert.True(rig.Driver.TryCollect(out _)));
    }

    [Theory, MemberData(nameof(Shapes))]
    public void A_driver_that_publishes_kicks_or_the_device_sees_what_is_available(RingShape shape)
    {
        using RingRig rig = new(shape);
        Litmus.Race(() =>
        {
            rig.Device.DisableKicks();
            Assert.True(rig.Driver.TryAdd([Buffer], [], out _));
        }, here: rig.Driver.Publish, there: rig.Device.EnableKicks, () =>
        {
            Assert.True(rig.Device.TryPop(out DescriptorChain? chain));
            rig.Device.Push(chain, 0);
            rig.Device.Publish();
            Assert.True(rig.Driver.TryCollect(out _));
        });
    }

    /// <summary>On a busy machine the two sides may not meet, so the code is looked at too: stores, then the fence, then the load.</summary>
    [Theory]
    [InlineData(typeof(SplitQueue), "EnableKicks")]
    [InlineData(typeof(SplitQueue), "PublishUsed")]
    [InlineData(typeof(PackedQueue), "EnableKicks")]
    [InlineData(typeof(PackedQueue), "PublishUsed")]
    public void A_fence_stands_between_the_store_and_the_load(Type queue, string method)
    {
        MethodInfo body = queue.GetMethod(method, BindingFlags.Instance | BindingFlags.NonPublic | BindingFlags.DeclaredOnly)!;
        string accesses = string.Concat(CallsOf(body).Select(call => call switch
        {
            nameof(Interlocked.MemoryBarrier) => 'F',
            nameof(GuestWindow.Store16) or nameof(GuestWindow.Store32) => 'S',
            nameof(GuestWindow.Load16) or nameof(GuestWindow.Load32) or "get_HasAvailable" => 'L',
            _ => ' ',
        }).Where(kind => kind != ' '));
        Assert.Matches("^S+FL+$", accesses);
    }

    /// <summary>The names of what a method calls, in the order of its code. A byte that only looks like a call names nothing that counts.</summary>
    private static IEnumerable<string> CallsOf(MethodInfo method)
    {
        const byte Call = 0x28, CallVirtual = 0x6f;
        byte[] code = method.GetMethodBody()!.GetILAsByteArray()!;
        for (int i = 0; i + 4 < code.Length; i++)
        {
            if (code[i] is not (Call or CallVirtual)) continue;
            if (Resolve(method.Module, BitConverter.ToInt32(code, i + 1)) is not { } called) continue;
            yield return called;
            i += 4;
        }
    }

    private static string? Resolve(Module module, int token)
    {
        try
        {
            return module.ResolveMethod(token)?.Name;
        }
        catch (ArgumentException)
        {
            return null;
        }
    }

    private static GuestBuffer Buffer => new(RingRig.BufferStart, 64);
}
