<?php
require_once __DIR__ . '/../src/Invoice.php';

final class InvoiceTest extends PHPUnit\Framework\TestCase
{
    public function testTaxIsAdded(): void
    {
        $this->assertSame(1100, Invoice::total([400, 600], 10));
    }

    public function testNothingCostsNothing(): void
    {
        $this->assertSame(0, Invoice::total([], 10));
    }

    public function testThePageReadsTheDatabase(): void
    {
        $page = file_get_contents('http://127.0.0.1/invoice/1');
        $this->assertSame(['total' => 3300], json_decode($page, true));
    }
}
