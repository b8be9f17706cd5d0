using System.Runtime.InteropServices;
using Vmm.Events.Buffers;

namespace Vmm.Events.Tests.Buffers;

/// <summary>
/// What the kernel meets at a page without any access: EFAULT. What we meet there ends the process, see
/// <see cref="GuardedProcessTests"/>.
/// </summary>
public sealed partial class GuardPageTests
{
    private static readonly SlabPoolOptions Guarded = new() { GuardPages = true };

    [LibraryImport("libc", EntryPoint = "getrandom", SetLastError = true)]
    private static partial nint FillByKernel(nint address, nuint length, uint flags);

    private static Errno KernelWrite(nint address, int length) =>
        FillByKernel(address, (nuint)length, 0) == length ? Errno.None : (Errno)Marshal.GetLastPInvokeError();

    private const Errno Fault = (Errno)14;

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    [InlineData(10_000)]
    [InlineData(1_000_000)]
    public void A_write_past_the_end_faults(int capacity)
    {
        using SlabPool pool = new(Guarded);
        SlabBuffer buffer = pool.Rent(capacity);
        nint address = buffer.Block.Address;
        Assert.Equal(Errno.None, KernelWrite(address, Math.Min(256, buffer.Capacity)));
        Assert.Equal(Fault, KernelWrite(address + buffer.Capacity, 1));
        buffer.Release();
    }

    [Fact]
    public void A_write_before_the_start_faults_where_the_buffer_fills_its_pages()
    {
        using SlabPool pool = new(Guarded);
        SlabBuffer buffer = pool.Rent(4096);
        Assert.Equal(Fault, KernelWrite(buffer.Block.Address - 1, 1));
        buffer.Release();
    }

    [Fact]
    public void A_late_write_after_the_release_faults()
    {
        using SlabPool pool = new(Guarded);
        SlabBuffer buffer = pool.Rent(4096);
        nint address = buffer.Block.Address;
        buffer.Release();
        Assert.Equal(Fault, KernelWrite(address, 1));
        Assert.NotEqual(address, pool.Rent(4096).Block.Address);
    }

    [Fact]
    public void Many_guarded_buffers_do_not_pile_up()
    {
        using SlabPool pool = new(Guarded);
        for (int i = 0; i < 1000; i++) pool.Rent(4096).Release();
        Assert.True(pool.Statistics.MappedBytes <= 300 * 3 * 4096, $"{pool.Statistics.MappedBytes} bytes are mapped");
    }
}
