using System.Runtime.InteropServices;
using Vmm.Events.Buffers;
using Vmm.Events.Native;

namespace Vmm.Events.Tests.Buffers;

/// <summary>A write of the kernel to a page that nobody may touch is answered with EFAULT, so no test needs to crash to see a guard.</summary>
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
    public void A_program_that_writes_past_the_end_dies_on_the_spot()
    {
        using SlabPool pool = new(Guarded);
        SlabBuffer buffer = pool.Rent(4096);
        nint guard = buffer.Block.Address + buffer.Capacity;
        string line = File.ReadLines("/proc/self/maps").First(map => Covers(map, guard));
        Assert.Contains(" ---p ", line, StringComparison.Ordinal);
        buffer.Release();
    }

    [Fact]
    public void Many_guarded_buffers_do_not_pile_up()
    {
        using SlabPool pool = new(Guarded);
        for (int i = 0; i < 1000; i++) pool.Rent(4096).Release();
        Assert.True(pool.Statistics.MappedBytes <= 300 * 3 * 4096, $"{pool.Statistics.MappedBytes} bytes are mapped");
    }

    private static bool Covers(string map, nint address)
    {
        string[] range = map[..map.IndexOf(' ', StringComparison.Ordinal)].Split('-');
        return Convert.ToInt64(range[0], 16) <= address && address < Convert.ToInt64(range[1], 16);
    }
}
